package client

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/ipfsmon/ipfsmon/event"
)

// maxText bounds what is shown of a server's words, in bytes.
const maxText = 2000

// PlainText makes words of a server fit for a log, a terminal and the file of
// rejected lines.
func PlainText(s string) string {
	lines := strings.Split(s[:min(len(s), maxText)], "\n")
	for i, line := range lines {
		lines[i] = string(event.Clean(line, maxText))
	}
	return strings.Join(lines, "\n")
}

// ErrorText finds the words in a server's answer, which is JSON of one kind or
// another, or anything at all from what stands in between.
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
