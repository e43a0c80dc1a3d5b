package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// completionShells makes the completion script of each shell.
var completionShells = map[string]func(w io.Writer, table []completed){"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}

func completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print the completion of the command line for a shell",
		ArgsUsage: "SHELL",
		Description: "SHELL is bash, zsh or fish. Packages and `make install` put the scripts in place.\n\n" +
			"Example: ipfsmon completion bash > ~/.local/share/bash-completion/completions/ipfsmon\n" +
			"         ipfsmon completion fish > ~/.config/fish/completions/ipfsmon.fish",
		Action: func(c *cli.Context) error {
			script, ok := completionShells[c.Args().First()]
			if !ok {
				return wrongUse(c, "%s: want bash, zsh or fish", quoted(c.Args().Slice()))
			}
			script(c.App.Writer, completions(prepared()))
			return nil
		},
	}
}

// completed has what may follow a command on the command line.
type completed struct {
	path     string // ipfsmon store backup
	commands []described
	flags    []described
	valued   []string // the flags that need a value
}

// described is a word with what it does.
type described struct{ word, text string }

// completions lists all commands, the root first.
func completions(a *cli.App) []completed {
	root := completed{path: a.Name, flags: []described{{"--help", "show help"}, {"--version", "print the version"}}}
	var out []completed
	var walk func(at completed, above []cli.Flag, cmds []*cli.Command)
	walk = func(at completed, above []cli.Flag, cmds []*cli.Command) {
		for _, cmd := range cmds {
			if !cmd.Hidden {
				at.commands = append(at.commands, described{cmd.Name, cmd.Usage})
			}
		}
		out = append(out, at)
		for _, cmd := range cmds {
			if cmd.Hidden {
				continue
			}
			sub := completed{path: at.path + " " + cmd.Name}
			var flags []cli.Flag // a command takes those of the commands above it too
			for _, f := range slices.Concat(cmd.Flags, above) {
				if !slices.ContainsFunc(flags, func(o cli.Flag) bool { return o.Names()[0] == f.Names()[0] }) {
					flags = append(flags, f)
				}
			}
			for _, f := range flags {
				d, ok := f.(cli.DocGenerationFlag)
				if v, hides := f.(cli.VisibleFlag); !ok || hides && !v.IsVisible() {
					continue
				}
				_, usage := placeholderOf(f)
				for _, n := range f.Names() {
					word := dashed(n)
					if len(n) > 1 || len(f.Names()) == 1 {
						sub.flags = append(sub.flags, described{word, usage})
					}
					if d.TakesValue() {
						sub.valued = append(sub.valued, word)
					}
				}
			}
			if !cmd.SkipFlagParsing {
				sub.flags = append(sub.flags, described{"--help", "show help"})
			}
			walk(sub, flags, cmd.Subcommands)
		}
	}
	walk(root, nil, a.Commands)
	return out
}

// dashed returns a flag's name as it is typed.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// shellQuoted returns a text in single quotes, for all three shells.
func shellQuoted(text string) string {
	return "'" + strings.ReplaceAll(text, "'", `'"'"'`) + "'"
}

// list returns the words of a list, each made by f, with a space between them.
func list[T any](all []T, f func(T) string) string {
	var out []string
	for _, x := range all {
		out = append(out, f(x))
	}
	return strings.Join(out, " ")
}

func wordOf(d described) string { return d.word }

// In each script a function sets what may follow a command; the walk over the words before the
// cursor finds the command; a word after a flag that needs a value is that value, and completes
// to a path.

func bashCompletion(w io.Writer, table []completed) {
	fmt.Fprint(w, `# bash completion of ipfsmon, made by "ipfsmon completion bash"
_ipfsmon_at() {
	case $1 in
`)
	for _, c := range table {
		fmt.Fprintf(w, "\t%s) commands='%s' flags='%s' valued='%s' ;;\n", shellQuoted(c.path), list(c.commands, wordOf), list(c.flags, wordOf), strings.Join(c.valued, " "))
	}
	fmt.Fprint(w, `	esac
}
_ipfsmon() {
	local current=${COMP_WORDS[COMP_CWORD]} at=ipfsmon commands flags valued word value=
	_ipfsmon_at "$at"
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		if [[ $value ]]; then value=
		elif [[ " $valued " == *" $word "* ]]; then value=1
		elif [[ " $commands " == *" $word "* ]]; then at+=" $word"; _ipfsmon_at "$at"
		fi
	done
	COMPREPLY=()
	if [[ $value ]]; then return
	elif [[ $current == -* ]]; then mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$current")
	else mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$current")
	fi
}
complete -o default -F _ipfsmon ipfsmon
`)
}

func zshCompletion(w io.Writer, table []completed) {
	fmt.Fprint(w, `#compdef ipfsmon
# zsh completion of ipfsmon, made by "ipfsmon completion zsh"
_ipfsmon_at() {
	case $1 in
`)
	item := func(d described) string { return shellQuoted(d.word + ":" + d.text) }
	for _, c := range table {
		fmt.Fprintf(w, "\t%s)\n\t\tcmds=(%s)\n\t\tflags=(%s)\n\t\tvalued=(%s) ;;\n", shellQuoted(c.path), list(c.commands, item), list(c.flags, item), strings.Join(c.valued, " "))
	}
	fmt.Fprint(w, `	esac
}
_ipfsmon() {
	local at=ipfsmon word value=
	local -a cmds flags valued
	_ipfsmon_at $at
	for word in "${(@)words[2,CURRENT-1]}"; do
		if [[ -n $value ]]; then value=
		elif (( ${valued[(Ie)$word]} )); then value=1
		elif (( ${${(@)cmds%%:*}[(Ie)$word]} )); then at+=" $word"; _ipfsmon_at $at
		fi
	done
	if [[ -n $value ]]; then _files
	elif [[ $words[CURRENT] == -* ]]; then _describe -o flag flags
	elif (( $#cmds )); then _describe command cmds
	else _files
	fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _ipfsmon "$@"; else compdef _ipfsmon ipfsmon; fi
`)
}

func fishCompletion(w io.Writer, table []completed) {
	fmt.Fprint(w, `# fish completion of ipfsmon, made by "ipfsmon completion fish"
function __ipfsmon_at
	set -g __ipfsmon_commands
	set -g __ipfsmon_flags
	set -g __ipfsmon_valued
	switch $argv[1]
`)
	item := func(d described) string { return shellQuoted(d.word + "\t" + d.text) }
	for _, c := range table {
		fmt.Fprintf(w, "\t\tcase %s\n\t\t\tset __ipfsmon_commands %s\n\t\t\tset __ipfsmon_flags %s\n\t\t\tset __ipfsmon_valued %s\n",
			shellQuoted(c.path), list(c.commands, item), list(c.flags, item), strings.Join(c.valued, " "))
	}
	fmt.Fprint(w, `	end
end
function __ipfsmon
	set -l at ipfsmon
	set -l value
	set -l current (commandline -ct)
	__ipfsmon_at $at
	for word in (commandline -opc)[2..-1]
		if test -n "$value"
			set value
		else if contains -- $word $__ipfsmon_valued
			set value 1
		else if string match -q -- $word\t'*' $__ipfsmon_commands
			set at "$at $word"
			__ipfsmon_at $at
		end
	end
	if test -n "$value"
		__fish_complete_path $current
	else if string match -q -- '-*' $current
		string join \n -- $__ipfsmon_flags
	else if set -q __ipfsmon_commands[1]
		string join \n -- $__ipfsmon_commands
	else
		__fish_complete_path $current
	end
end
complete -c ipfsmon -f -a '(__ipfsmon)'
`)
}
