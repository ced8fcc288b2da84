package main

import "fmt"

// row is a headed group of panels.
type row struct {
	title string
	// across is how many panels stand beside each other.
	across int
	panels []panel
}

// panel is one figure.
type panel struct {
	title, about string
	// unit is Grafana's name of it.
	unit    string
	queries []query
	// stat shows one number, red from red on; 0: never.
	stat bool
	red  float64
	// exemplars shows the traces of single events.
	exemplars bool
}

// query is a line, or one for each value of the labels in its legend.
type query struct{ expr, legend string }

// of selects the sources that are chosen.
const of = `{source=~"$source"}`

// rows are the dashboard, from what an operator looks at first.
var rows = []row{
	{"At a glance", 8, []panel{
		number("Oldest event", "How long the oldest event that has not taken effect has waited.", "s", 300, `max(tarn_backlog_oldest_age_seconds`+of+`)`),
		number("Backlog", "Entries that are not settled yet.", "short", 0, `sum(max by (source, tier) (tarn_backlog_entries`+of+`))`),
		number("Parked entities", "Entities that wait for their next attempt.", "short", 0, `sum(max by (source) (tarn_parked_entities`+of+`))`),
		number("Open dead letters", "Work that was given up and waits for a decision.", "short", 1, `sum(max by (source) (tarn_open_dead_letters`+of+`))`),
		number("Paused sources", "Sources whose provider is not asked.", "short", 1, `sum(max by (source) (tarn_source_paused`+of+`))`),
		number("Drift in 24 h", "Differences that were confirmed.", "short", 1, `sum(increase(tarn_discrepancies_total`+of+`[24h]))`),
		number("Workers", "Live workers.", "short", 0, `max(tarn_workers)`),
		number("Alerts firing", "Rules of deployments/prometheus that fire.", "short", 1, `count(ALERTS{alertstate="firing", alertname=~"Tarn.*"})`),
	}},
	{"Webhooks", 3, []panel{
		lines("Webhooks", "Webhooks with a good signature, and those of them that came again.", "reqps",
			query{rate("sum by (source)", "tarn_webhooks_received_total"), "{{source}} received"},
			query{rate("sum by (source)", "tarn_webhooks_duplicate_total"), "{{source}} again"}),
		lines("Refused webhooks", "By reason. full, panic, timeout and unconfirmed are Tarn's own.", "reqps",
			query{`sum by (source, reason) (rate(tarn_webhooks_rejected_total[$__rate_interval]))`, "{{source}} {{reason}}"},
			query{`sum(rate(tarn_answer_encode_failures_total[$__rate_interval]))`, "answers not written"}),
		quantiles("Time to answer a webhook", "From the request to the answer.", "tarn_webhook_accept_seconds"),
	}},
	{"From the webhook to the mirror", 3, []panel{
		quantiles("Event to mirror", "From receiving an event until the mirror reflects it.", "tarn_event_to_mirror_seconds"),
		lines("Outcomes", "Outcomes settled, and those that shared another's fetch.", "ops",
			query{rate("sum by (source)", "tarn_outcomes_settled_total"), "{{source}} settled"},
			query{rate("sum by (source)", "tarn_outcomes_coalesced_total"), "{{source}} shared"}),
		lines("Backlog", "Entries that are not settled yet.", "short",
			query{`max by (source, tier) (tarn_backlog_entries` + of + `)`, "{{source}} {{tier}}"}),
		lines("Age of the oldest event", "How long it has waited.", "s",
			query{`max by (source) (tarn_backlog_oldest_age_seconds` + of + `)`, "{{source}}"}),
		lines("Late events", "Events older than one that was taken before; those whose state was already past; fetches behind what was known.", "ops",
			query{rate("sum by (source)", "tarn_events_out_of_order_total"), "{{source}} out of order"},
			query{rate("sum by (source)", "tarn_events_overtaken_total"), "{{source}} overtaken"},
			query{rate("sum by (source)", "tarn_fetches_lagging_total"), "{{source}} lagging reads"}),
		lines("Odd events", "Events that lack something, and those that lead to nothing.", "ops",
			query{rate("sum by (source, what)", "tarn_events_flagged_total"), "{{source}} {{what}}"},
			query{rate("sum by (source, note)", "tarn_events_noted_total"), "{{source}} {{note}}"}),
	}},
	{"The provider", 3, []panel{
		lines("Requests", "Answers of the provider's API by status.", "reqps",
			query{rate("sum by (source, status)", "tarn_fetches_total"), "{{source}} {{status}}"}),
		quantiles("Time of a fetch", "One GET of an entity.", "tarn_fetch_seconds"),
		quantiles("Wait for the rate", "How long a fetch waited for the source's budget.", "tarn_budget_wait_seconds"),
		lines("Share of the rate", "Less than 1 after the provider has answered 429; 0 to 1.", "percentunit",
			query{`max by (source) (tarn_source_pace_ratio` + of + `)`, "{{source}}"}),
		lines("Paused", "1 while the provider is not asked.", "short",
			query{`max by (source) (tarn_source_paused` + of + `)`, "{{source}}"}),
		lines("Failed attempts", "By class; each is repeated.", "ops",
			query{rate("sum by (source, class)", "tarn_retries_total"), "{{source}} {{class}}"}),
	}},
	{"Failures", 3, []panel{
		lines("Dead letters", "Open now, and written in the last 5 minutes.", "short",
			query{`max by (source) (tarn_open_dead_letters` + of + `)`, "{{source}} open"},
			query{`sum by (source, class) (increase(tarn_dead_letters_total` + of + `[5m]))`, "{{source}} new, {{class}}"}),
		lines("Parked", "Entities that wait for their next attempt; those of a kind that the definition lacks; work of a source that is not configured.", "short",
			query{`max by (source) (tarn_parked_entities` + of + `)`, "{{source}}"},
			query{`max by (source, kind) (tarn_undefined_waiting_entities` + of + `)`, "{{source}} {{kind}} undefined"},
			query{`max by (source) (tarn_unconfigured_waiting_entries)`, "{{source}} not configured"}),
		lines("Alerts that Tarn raised", "In the last 5 minutes, by kind.", "short",
			query{`sum by (source, kind) (increase(tarn_alerts_total[5m])) > 0`, "{{source}} {{kind}}"}),
		lines("Work held", "Calls that wait for Redis or the store, how often that began, and reports of time-outs.", "short",
			query{`sum by (what) (tarn_held_calls)`, "{{what}} now"},
			query{`sum by (what) (increase(tarn_work_held_total[5m]))`, "{{what}} began"},
			query{`sum(increase(tarn_store_timeouts_reported_total[5m]))`, "store timed out"}),
		lines("Guards", "Stale writes refused, signals whose entry Redis had lost, entries spilled from memory.", "ops",
			query{rate("sum by (source)", "tarn_stale_writes_refused_total"), "{{source}} stale writes"},
			query{rate("sum by (source)", "tarn_signals_recovered_total"), "{{source}} recovered"},
			query{rate("sum by (source)", "tarn_spilled_entries_total"), "{{source}} spilled"}),
		lines("Loops started again", "After a panic or a failure, in the last 5 minutes.", "short",
			query{`sum by (loop) (increase(tarn_loop_restarts_total[5m])) > 0`, "{{loop}}"}),
	}},
	{"Commands", 3, []panel{
		lines("Commands", "Changes that are not over, by state; dead ones wait for an operator.", "short",
			query{`sum by (source, state) (max by (source, kind, op, state) (tarn_open_commands` + of + `))`, "{{source}} {{state}}"},
			query{`sum by (source, state) (increase(tarn_commands_total` + of + `[5m])) > 0`, "{{source}} {{state}} in 5 minutes"}),
		quantiles("Time to the provider's answer", "From asking for a change until the provider has made it.", "tarn_command_answer_seconds"),
		quantiles("Time to the mirror", "From asking for a change until the mirror shows it.", "tarn_command_cover_seconds"),
		lines("Answers that were lost", "How it was found out what became of the change, in the last 5 minutes.", "short",
			query{`sum by (source, strategy, verdict) (increase(tarn_commands_unclear_total` + of + `[5m])) > 0`, "{{source}} {{strategy}}: {{verdict}}"}),
		lines("Waits for an operator", "For how long the oldest has.", "s",
			query{`max by (source) (tarn_command_asked_oldest_seconds` + of + `)`, "{{source}}"}),
		lines("Outbox", "Rows of applications that are no commands yet.", "short",
			query{`max by (source) (tarn_outbox_rows` + of + `)`, "{{source}}"}),
	}},
	{"Truth", 3, []panel{
		lines("Staleness", "Age of the document of each kind that was verified longest ago, as a share of verify_every.", "percentunit",
			query{`max by (source, kind) (tarn_staleness_seconds` + of + `) / max by (source, kind) (tarn_verify_every_seconds` + of + `)`, "{{source}} {{kind}}"}),
		lines("Confirmed differences", "In the last hour, by type.", "short",
			query{`sum by (source, kind, type) (increase(tarn_discrepancies_total` + of + `[1h])) > 0`, "{{source}} {{kind}} {{type}}"}),
		lines("What is not seen", "Event types without webhooks, lists that could not be read in the last hour.", "short",
			query{`max by (source) (tarn_subscription_missing_types` + of + `)`, "{{source}} types without webhooks"},
			query{`sum by (source, kind) (increase(tarn_lists_failed_total` + of + `[1h])) > 0`, "{{source}} {{kind}} lists"}),
		lines("Search for missed events", "How long it has been held up.", "s",
			query{`max by (source) (tarn_gaps_blocked_seconds` + of + `)`, "{{source}}"}),
	}},
	{"The change feed", 3, []panel{
		lines("Changes", "Added to the feed, for those who follow the mirror.", "ops",
			query{rate("sum by (source)", "tarn_feed_items_total"), "{{source}}"},
			query{`deriv(max by (source) (tarn_feed_head` + of + `)[5m:])`, "{{source}} positions"}),
		lines("Changes that wait", "How long the oldest one has waited to be added.", "s",
			query{`max by (source) (tarn_feed_debt_seconds` + of + `)`, "{{source}}"}),
		lines("Consumers", "How many positions each that gave a name is behind.", "short",
			query{`max by (source, consumer) (tarn_feed_lag` + of + `)`, "{{source}} {{consumer}}"}),
	}},
	{"Outgoing webhooks", 3, []panel{
		lines("Messages", "To receivers, by what came of them.", "ops",
			query{`sum by (webhook, outcome) (rate(tarn_deliveries_total[$__rate_interval]))`, "{{webhook}} {{outcome}}"}),
		lines("Behind", "How long the oldest change has waited that was neither accepted nor parked.", "s",
			query{`max by (webhook) (tarn_delivery_lag_seconds)`, "{{webhook}}"}),
		lines("Refused", "Entities that wait since the receiver refused them; 1 while nothing is sent.", "short",
			query{`max by (webhook) (tarn_delivery_parked_entities)`, "{{webhook}} parked"},
			query{`max by (webhook, reason) (tarn_delivery_halted)`, "{{webhook}} {{reason}}"}),
	}},
	{"The fleet", 3, []panel{
		lines("Shards", "Read by each worker; in which something waits and no worker reads; that do not move.", "short",
			query{`tarn_leases_held`, "{{instance}}"},
			query{`max(tarn_unowned_shards)`, "not read"},
			query{`max by (source) (tarn_stalled_shards` + of + `)`, "{{source}} stalled"}),
		lines("Leases", "Taken, lost, and pending lists read again.", "short",
			query{`sum by (instance) (increase(tarn_handovers_total[5m]))`, "{{instance}} taken"},
			query{`sum by (instance) (increase(tarn_leases_lost_total[5m]))`, "{{instance}} lost"},
			query{`sum by (instance) (increase(tarn_resyncs_total[5m]))`, "{{instance}} read again"}),
		lines("Workers", "Live workers, and processes whose Redis and database do not belong together.", "short",
			query{`max(tarn_workers)`, "workers"},
			query{`sum(tarn_identity_mismatch)`, "of another fleet"}),
		lines("Memory of Redis", "Used, and what it may use.", "bytes",
			query{`max(tarn_redis_memory_used_bytes)`, "used"},
			query{`max(tarn_redis_memory_max_bytes)`, "maxmemory"}),
		lines("Disk of the database", "SQLite only.", "bytes",
			query{`max(tarn_store_disk_free_bytes)`, "free"},
			query{`max(tarn_store_disk_size_bytes)`, "size"}),
		lines("Processes", "Resident memory, and processors used.", "bytes",
			query{`process_resident_memory_bytes{job="tarn"}`, "{{instance}}"}),
	}},
	{"Shards (telemetry.shard_series)", 3, []panel{
		lines("Oldest event by shard", "The ten oldest.", "s",
			query{`topk(10, max by (source, shard) (tarn_shard_backlog_oldest_age_seconds` + of + `))`, "{{source}} {{shard}}"}),
		lines("Backlog by shard", "The ten longest.", "short",
			query{`topk(10, sum by (source, shard) (max by (source, shard, tier) (tarn_shard_backlog_entries` + of + `)))`, "{{source}} {{shard}}"}),
		lines("Parked by shard", "The ten fullest.", "short",
			query{`topk(10, max by (source, shard) (tarn_shard_parked_entities` + of + `))`, "{{source}} {{shard}}"}),
	}},
}

func number(title, about, unit string, red float64, expr string) panel {
	return panel{title: title, about: about, unit: unit, stat: true, red: red, queries: []query{{expr, ""}}}
}

func lines(title, about, unit string, queries ...query) panel {
	return panel{title: title, about: about, unit: unit, queries: queries}
}

// quantiles shows a histogram by source, with the traces that are its exemplars.
func quantiles(title, about, histogram string) panel {
	p := panel{title: title, about: about, unit: "s", exemplars: true}
	for _, q := range []string{"0.5", "0.95", "0.99"} {
		p.queries = append(p.queries, query{
			fmt.Sprintf(`histogram_quantile(%s, sum by (source, le) (rate(%s_bucket%s[$__rate_interval])))`, q, histogram, of),
			"{{source}} p" + q[2:],
		})
	}
	return p
}

// rate is the rate of a counter of the chosen sources, aggregated by by.
func rate(by, counter string) string {
	return fmt.Sprintf(`%s (rate(%s%s[$__rate_interval]))`, by, counter, of)
}
