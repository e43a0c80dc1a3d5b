package throttle

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestOneLineInTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Line
		if held, ok := l.Allow(); !ok || held != 0 {
			t.Fatalf("first: %d, %v", held, ok)
		}
		for range 5 {
			if _, ok := l.Allow(); ok {
				t.Fatal("a second line within ten seconds")
			}
		}
		time.Sleep(Every)
		if held, ok := l.Allow(); !ok || held != 5 {
			t.Fatalf("after ten seconds: %d, %v", held, ok)
		}
	})
}
