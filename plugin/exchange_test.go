package plugin

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestKuboSourceIsKnown fails when kubo's own constructor of Bitswap has changed since
// NewBitswap was written: read what changed, adapt NewBitswap, then change the sum.
func TestKuboSourceIsKnown(t *testing.T) {
	const known = "7c04589b2657263e77ed5bc558259e372093ba4cf1130272aa036332e587e167"
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/ipfs/kubo").Output()
	require.NoError(t, err)
	source, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "core", "node", "bitswap.go"))
	require.NoError(t, err)
	sum := sha256.Sum256(source)
	require.Equal(t, known, hex.EncodeToString(sum[:]), "core/node/bitswap.go of this kubo has changed")
}
