package command

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
)

var completion = Command{
	Name: "completion", Args: "SHELL",
	Short: "Print what lets bash, zsh or fish complete commands and flags",
	About: `bash: source <(tarn completion bash), in ~/.bashrc
zsh:  source <(tarn completion zsh), in ~/.zshrc after compinit
fish: tarn completion fish > ~/.config/fish/completions/tarn.fish`,
	Example: "tarn completion bash",
	New: func(*flag.FlagSet) func(context.Context, *Env, []string) error {
		return func(_ context.Context, env *Env, args []string) error {
			shells := map[string]func() string{"bash": bash, "zsh": zsh, "fish": fish}
			script, ok := shells[args[0]]
			if !ok {
				return misused("there is completion for bash, zsh and fish, not for %q", args[0])
			}
			env.printf("%s", script())
			return nil
		}
	},
}

// flagsOf returns the flags of a command with their texts.
func (c *Command) flagsOf() (names, texts []string) {
	set := flag.NewFlagSet(c.Name, flag.ContinueOnError)
	c.New(set)
	set.VisitAll(func(f *flag.Flag) {
		_, text := flag.UnquoteUsage(f)
		names, texts = append(names, f.Name), append(texts, text)
	})
	return append(names, "help"), append(texts, "its flags, an example and its exit statuses")
}

// words returns the words that may follow the first words of a command line: those of
// commands, each once, in order. The key is the words so far: "", "letters".
func words() (order []string, after map[string][]string) {
	after = map[string][]string{}
	for _, c := range commands {
		parts := strings.Fields(c.Name)
		for i, word := range parts {
			so := strings.Join(parts[:i], " ")
			if _, known := after[so]; !known {
				order = append(order, so)
			}
			if !strings.Contains(" "+strings.Join(after[so], " ")+" ", " "+word+" ") {
				after[so] = append(after[so], word)
			}
		}
	}
	return order, after
}

// candidates are lines of a shell's case: the words typed so far, and what may follow.
func candidates() string {
	var b strings.Builder
	order, after := words()
	for _, so := range order {
		if isCommand(so) {
			continue // with its flags, below
		}
		_, _ = fmt.Fprintf(&b, "    '%s') echo '%s' ;;\n", so, strings.Join(after[so], " "))
	}
	for _, c := range commands {
		names, _ := c.flagsOf()
		all := append(slices.Clone(after[c.Name]), "--"+strings.Join(names, " --"))
		_, _ = fmt.Fprintf(&b, "    '%s') echo '%s' ;;\n", c.Name, strings.Join(all, " "))
	}
	return b.String()
}

// isCommand reports whether the words are a command, and not only the beginning of some.
func isCommand(words string) bool {
	return slices.ContainsFunc(commands, func(c Command) bool { return c.Name == words })
}

// function finds what may follow words in bash and zsh.
func function() string {
	return `_tarn_words() {
  case "$1" in
` + candidates() + `  esac
}
_tarn_follow() {
  local words="" word next
  for word in "$@"; do
    next="$words${words:+ }$word"
    [ -n "$(_tarn_words "$next")" ] && words="$next"
  done
  _tarn_words "$words"
}
`
}

func bash() string {
	return `# bash completion of tarn
` + function() + `_tarn() {
  COMPREPLY=($(compgen -W "$(_tarn_follow "${COMP_WORDS[@]:1:COMP_CWORD-1}")" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _tarn tarn
`
}

func zsh() string {
	return `#compdef tarn
` + function() + `_tarn() {
  local -a found
  found=(${=$(_tarn_follow "${(@)words[2,CURRENT-1]}")})
  compadd -- $found || _files
}
compdef _tarn tarn
`
}

func fish() string {
	var b strings.Builder
	b.WriteString("# fish completion of tarn\n")
	first := map[string]bool{}
	for _, c := range commands {
		parts := strings.Fields(c.Name)
		if len(parts) == 1 || !first[parts[0]] && !isCommand(parts[0]) {
			text := c.Short
			if len(parts) > 1 {
				text = "commands of " + parts[0]
			}
			_, _ = fmt.Fprintf(&b, "complete -c tarn -n __fish_use_subcommand -f -a %s -d %s\n", parts[0], fishQuote(text))
		}
		first[parts[0]] = true
		seen := "__fish_seen_subcommand_from " + parts[0]
		if len(parts) > 1 {
			_, _ = fmt.Fprintf(&b, "complete -c tarn -n '%s; and not __fish_seen_subcommand_from %s' -f -a %s -d %s\n", seen, strings.Join(siblings(parts[0]), " "), parts[1], fishQuote(c.Short))
			seen += "; and __fish_seen_subcommand_from " + parts[1]
		}
		names, texts := c.flagsOf()
		for i, name := range names {
			_, _ = fmt.Fprintf(&b, "complete -c tarn -n '%s' -l %s -d %s\n", seen, name, fishQuote(texts[i]))
		}
	}
	return b.String()
}

// siblings are the second words of the commands that begin with a word.
func siblings(first string) []string {
	_, after := words()
	return after[first]
}

func fishQuote(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
}
