package access

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// ErrNoSecret is the error of a file without a secret.
var ErrNoSecret = errors.New("want a secret, alone on a line")

// ReadSecret returns the password or token in a file, for those who send it: the first line that is
// neither empty nor a comment (# and a space), without the spaces around it. The file may be a pipe.
// Errors name the file and never contain a part of it; they are ErrNoSecret if it has none.
func ReadSecret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return "", err
	}
	if len(data) > maxFile {
		return "", fmt.Errorf("%s is too long: want at most %d bytes", path, maxFile)
	}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && line != "#" && !strings.HasPrefix(line, "# ") {
			return line, nil
		}
	}
	return "", fmt.Errorf("%s is empty: %w", path, ErrNoSecret)
}
