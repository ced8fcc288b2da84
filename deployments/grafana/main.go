// Command grafana prints Tarn's Grafana dashboard. dashboards/tarn.json is what it
// prints; the test of this package writes it with -update.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	text, err := render()
	if err == nil {
		_, err = os.Stdout.Write(text)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "grafana:", err)
		os.Exit(1)
	}
}

// render is the dashboard as Grafana reads it.
func render() ([]byte, error) {
	text, err := json.MarshalIndent(dashboard(), "", "  ")
	return append(text, '\n'), err
}

// object is a JSON object.
type object = map[string]any

// The grid of a dashboard is 24 wide.
const (
	gridWidth = 24
	height    = 8
)

// dashboard lays out rows of panels.
func dashboard() object {
	var panels []object
	id, y := 0, 0
	place := func(p object, x, w, h int) {
		id++
		p["id"], p["gridPos"] = id, object{"x": x, "y": y, "w": w, "h": h}
		panels = append(panels, p)
	}
	for _, r := range rows {
		place(object{"type": "row", "title": r.title, "collapsed": false, "panels": []object{}}, 0, gridWidth, 1)
		y++
		x, h := 0, height
		if r.panels[0].stat {
			h = height / 2
		}
		for _, p := range r.panels {
			w := gridWidth / r.across
			if x+w > gridWidth {
				x, y = 0, y+h
			}
			place(p.object(), x, w, h)
			x += w
		}
		y += h
	}
	return object{
		"uid": "tarn", "title": "Tarn", "tags": []string{"tarn"}, "schemaVersion": 39, "editable": true,
		"time": object{"from": "now-1h", "to": "now"}, "refresh": "15s", "timezone": "browser", "graphTooltip": 1,
		"templating": object{"list": []object{{
			"name": "source", "label": "Source", "type": "query", "datasource": prometheus, "refresh": 2, "sort": 1,
			"query":      object{"query": "label_values(tarn_backlog_oldest_age_seconds, source)", "refId": "source"},
			"definition": "label_values(tarn_backlog_oldest_age_seconds, source)",
			"multi":      true, "includeAll": true, "allValue": ".*", "current": object{"text": "All", "value": "$__all"},
		}}},
		"annotations": object{"list": []object{{
			"name": "Alerts", "enable": true, "iconColor": "red", "datasource": prometheus,
			"expr": `ALERTS{alertstate="firing", alertname=~"Tarn.*"}`, "titleFormat": "{{alertname}}", "textFormat": "{{source}}",
		}}},
		"panels": panels,
	}
}

// prometheus is the data source that provisioning/datasources names.
var prometheus = object{"type": "prometheus", "uid": "prometheus"}

// object is the panel as Grafana has it.
func (p panel) object() object {
	var targets []object
	for i, q := range p.queries {
		targets = append(targets, object{
			"refId": string(rune('A' + i)), "datasource": prometheus, "expr": q.expr, "legendFormat": q.legend,
			"exemplar": p.exemplars && !p.stat, "instant": p.stat, "range": !p.stat,
		})
	}
	defaults := object{"unit": p.unit, "min": 0, "custom": object{}}
	out := object{
		"type": "timeseries", "title": p.title, "description": p.about, "datasource": prometheus, "targets": targets,
		"fieldConfig": object{"defaults": defaults, "overrides": []object{}},
		"options":     object{"legend": object{"displayMode": "list", "placement": "bottom"}, "tooltip": object{"mode": "multi", "sort": "desc"}},
	}
	if !p.stat {
		defaults["custom"] = object{"lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": false}
		return out
	}
	out["type"] = "stat"
	out["options"] = object{"reduceOptions": object{"calcs": []string{"lastNotNull"}}, "colorMode": "value", "graphMode": "none"}
	defaults["noValue"] = "none"
	steps := []object{{"color": "green", "value": nil}}
	if p.red > 0 {
		steps = append(steps, object{"color": "red", "value": p.red})
	}
	defaults["thresholds"] = object{"mode": "absolute", "steps": steps}
	return out
}
