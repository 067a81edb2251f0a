package load

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// pinnedMark tells the process started again that it is pinned already.
const pinnedMark = "WHARF_SIMULATOR_PINNED"

// Pin restricts the process to one processor. Threads that exist keep their freedom, so it starts itself anew: the new
// process inherits the restriction in its first thread and hence in all.
func Pin(cpu int) error {
	if os.Getenv(pinnedMark) != "" {
		return nil
	}
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pinning to processor %d: %w; --cpu -1 runs without", cpu, err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(self, os.Args, append(os.Environ(), "GOMAXPROCS=1", pinnedMark+"=1"))
}

func usableCPUs() int {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return runtime.GOMAXPROCS(0)
	}
	return min(set.Count(), runtime.GOMAXPROCS(0))
}

func processCPU() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(errors.Join(errors.New("getrusage on the own process"), err)) // fails for wrong arguments only
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func peakRSS() float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return float64(u.Maxrss) / 1024
}
