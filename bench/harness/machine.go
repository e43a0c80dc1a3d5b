package harness

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Machine names the processor, how many there are, and Go's version.
func Machine() string {
	name := runtime.GOARCH
	data, _ := os.ReadFile("/proc/cpuinfo") // not everywhere
	for line := range strings.Lines(string(data)) {
		if model, ok := strings.CutPrefix(line, "model name"); ok {
			name = strings.Trim(model, " \t:\n")
			break
		}
	}
	return fmt.Sprintf("%s, %d CPUs, %s", name, runtime.NumCPU(), runtime.Version())
}

// Load is the system's load of the last minute; empty where it has none.
func Load() string {
	data, _ := os.ReadFile("/proc/loadavg")
	one, _, _ := strings.Cut(string(data), " ")
	return one
}

// CPUTime is what this process has used, in seconds.
func CPUTime() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // not for the process itself
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// PeakMiB is the most memory that this process had; 0 where the system does not
// report it.
func PeakMiB() float64 { return memoryMiB("self", "VmHWM") }

// ResidentMiB is the memory of another process; 0 after its end.
func ResidentMiB(pid int) float64 { return memoryMiB(fmt.Sprint(pid), "VmRSS") }

// CPUTimeOf is what another process has used, in seconds; 0 after its end.
func CPUTimeOf(pid int) float64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(data), ") ") // its name may have anything in it
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	var user, system float64
	_, _ = fmt.Sscan(fields[11]+" "+fields[12], &user, &system) // numbers, as proc(5) says
	return (user + system) / 100                                // USER_HZ is 100 on all of Linux
}

// memoryMiB is a figure of proc(5)'s status.
func memoryMiB(pid, key string) float64 {
	data, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		var kib float64
		if n, _ := fmt.Sscanf(line, key+": %f kB", &kib); n == 1 {
			return kib / 1024
		}
	}
	return 0
}

// Self runs this program once more with other arguments, its standard error on
// ours, and decodes the JSON that it prints.
func Self(into any, args ...string) error {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return json.Unmarshal(out, into)
}
