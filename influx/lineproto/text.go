package lineproto

// AppendString appends a string field's value in quotes. A line break or
// another control character cannot come from an event.Text; should one come
// anyway it becomes a space, so that it can never begin a line.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(append(dst, s[from:i]...), '\\', c)
			from = i + 1
		case c < ' ' || c == 0x7f:
			dst = append(append(dst, s[from:i]...), ' ')
			from = i + 1
		}
	}
	return append(append(dst, s[from:]...), '"')
}

// AppendTag appends a tag's value. InfluxDB refuses an empty value and takes a
// backslash at the end for an escape of what follows, so those are changed.
func AppendTag(dst []byte, s string) []byte {
	for len(s) > 0 && s[len(s)-1] == '\\' {
		s = s[:len(s)-1]
	}
	if s == "" {
		s = "unknown"
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == ',' || c == '=' || c == ' ':
			dst = append(dst, '\\', c)
		case c < ' ' || c == 0x7f:
			dst = append(dst, '\\', ' ')
		default:
			dst = append(dst, c)
		}
	}
	return dst
}
