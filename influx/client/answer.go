package client

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/ipfsmon/ipfsmon/event"
)

// maxText bounds how much of a server's text is shown, in bytes.
const maxText = 2000

// PlainText makes a server's text safe for a log, a terminal and the file of rejected lines.
func PlainText(s string) string {
	lines := strings.Split(s[:min(len(s), maxText)], "\n")
	for i, line := range lines {
		lines[i] = string(event.Clean(line, maxText))
	}
	return strings.Join(lines, "\n")
}

// ErrorText extracts the error message from a server's answer: JSON of one kind or another, or
// anything if a proxy answered.
func ErrorText(answer []byte) string {
	var v struct{ Error, Message string }
	if json.Unmarshal(answer, &v) == nil && (v.Error != "" || v.Message != "") {
		if v.Error != "" {
			return v.Error
		}
		return v.Message
	}
	text := answer[:min(len(answer), maxText)]
	for len(text) > 0 && len(text) < len(answer) && !utf8.RuneStart(answer[len(text)]) {
		text = text[:len(text)-1]
	}
	return strings.ToValidUTF8(string(text), "\uFFFD")
}
