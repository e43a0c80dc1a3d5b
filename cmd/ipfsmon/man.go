package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/ipfsmon/ipfsmon/internal/release"
)

func manCommand() *cli.Command {
	return &cli.Command{
		Name:      "man",
		Usage:     "write the manual pages into a folder",
		ArgsUsage: "FOLDER",
		Description: "Writes ipfsmon.1 and a page for each command, with its sub-commands. Packages and `make install` put them in place.\n\n" +
			"Example: ipfsmon man ~/.local/share/man/man1",
		Action: func(c *cli.Context) error {
			dir := c.Args().First()
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			for name, page := range manPages(prepared()) {
				if err := os.WriteFile(filepath.Join(dir, name+".1"), []byte(page), 0o644); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// manPages returns a page for the program and one for each of its commands, by name.
func manPages(a *cli.App) map[string]string {
	out := map[string]string{}
	var b strings.Builder
	manHead(&b, a.Name, a.Usage)
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\nCOMMAND [FLAGS] [ARGUMENTS]\n", a.Name)
	description, codes, _ := strings.Cut(a.Description, exitCodes)
	manText(&b, "DESCRIPTION", description+codes)
	b.WriteString(".SH COMMANDS\n")
	var pages []string
	for _, cmd := range a.Commands {
		if cmd.Hidden {
			continue
		}
		name := a.Name + "-" + cmd.Name
		manItem(&b, a.Name+" "+cmd.Name, "", cmd.Usage)
		pages = append(pages, name)
		var p strings.Builder
		manHead(&p, name, cmd.Usage)
		manCommandText(&p, a.Name+" "+cmd.Name, cmd, true)
		fmt.Fprintf(&p, ".SH SEE ALSO\n.BR %s (1)\n", roff(a.Name))
		out[name] = p.String()
	}
	manText(&b, "EXIT STATUS", exitCodes)
	b.WriteString(".SH SEE ALSO\n")
	for i, name := range pages {
		end := ","
		if i == len(pages)-1 {
			end = ""
		}
		fmt.Fprintf(&b, ".BR %s (1)%s\n", roff(name), end)
	}
	out[a.Name] = b.String()
	return out
}

// manHead writes the head of a page. Its date is the version: the same sources make the same page.
func manHead(w io.Writer, name, usage string) {
	fmt.Fprintf(w, ".TH %s 1 \"\" \"ipfsmon %s\" \"ipfsmon\"\n.nh\n.SH NAME\n%s \\- %s\n", roff(strings.ToUpper(name)), roff(release.Version()), roff(name), roff(usage))
}

// manCommandText writes what a command does, its flags, and the same of its sub-commands.
func manCommandText(w io.Writer, line string, cmd *cli.Command, top bool) {
	synopsis := fmt.Sprintf(".B %s\n%s\n", roff(line), roff(strings.TrimSpace("[FLAGS] "+cmd.ArgsUsage)))
	if top {
		fmt.Fprintf(w, ".SH SYNOPSIS\n%s", synopsis)
		manText(w, "DESCRIPTION", cmd.Description)
	} else {
		fmt.Fprintf(w, ".SH %s\n%s.PP\n%s.\n", roff(strings.ToUpper(line)), synopsis, roff(strings.ToUpper(cmd.Usage[:1])+cmd.Usage[1:]))
		manText(w, "", cmd.Description)
	}
	own := func(f cli.Flag) bool { // the others are on the page once
		c, ok := f.(cli.CategorizableFlag)
		return !ok || c.GetCategory() != logCategory
	}
	flags := cmd.VisibleFlags()
	if top && slices.ContainsFunc(flags, own) {
		fmt.Fprint(w, ".SH FLAGS\n")
	}
	for _, f := range flags {
		if own(f) {
			manFlag(w, f)
		}
	}
	for _, sub := range cmd.Subcommands {
		if !sub.Hidden {
			manCommandText(w, line+" "+sub.Name, sub, false)
		}
	}
	if top && !cmd.SkipFlagParsing {
		fmt.Fprint(w, ".SH FLAGS OF EVERY COMMAND\n")
		for _, f := range commonFlags() {
			manFlag(w, f)
		}
	}
}

// manFlag writes a flag's entry.
func manFlag(w io.Writer, f cli.Flag) {
	head, text, _ := strings.Cut(flagHelp(f), "\t")
	value := ""
	if d, ok := f.(cli.DocGenerationFlag); ok && d.TakesValue() {
		if at := strings.LastIndexByte(head, ' '); at > 0 {
			head, value = head[:at], head[at+1:]
		}
	}
	manItem(w, head, value, text)
}

// manItem writes an entry of a list.
func manItem(w io.Writer, name, value, text string) {
	fmt.Fprintf(w, ".TP\n\\fB%s\\fR", roff(name))
	if value != "" {
		fmt.Fprintf(w, " \\fI%s\\fR", roff(value))
	}
	fmt.Fprintf(w, "\n%s\n", roffLine(text))
}

// manText writes paragraphs. One with lines that are indented, as examples are, keeps its lines.
func manText(w io.Writer, title, text string) {
	if title != "" {
		fmt.Fprintf(w, ".SH %s\n", title)
	}
	for paragraph := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		if strings.TrimSpace(paragraph) == "" {
			continue
		}
		fmt.Fprint(w, ".PP\n")
		asIs := strings.HasPrefix(paragraph, "Example:") || strings.Contains(paragraph, "\n ") || strings.HasPrefix(paragraph, " ")
		if asIs {
			fmt.Fprint(w, ".nf\n")
		}
		for line := range strings.SplitSeq(paragraph, "\n") {
			fmt.Fprintln(w, roffLine(line))
		}
		if asIs {
			fmt.Fprint(w, ".fi\n")
		}
	}
}

// roff escapes what roff reads as other than text.
func roff(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, `"`, `\(dq`).Replace(text)
}

// roffLine is roff of a line that may begin with a dot, which would be a request.
func roffLine(line string) string {
	line = roff(line)
	if strings.HasPrefix(line, ".") {
		return `\&` + line
	}
	return line
}
