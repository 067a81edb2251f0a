//go:build !linux

package load

import (
	"errors"
	"runtime"
	"syscall"
	"time"
)

// Pin is for Linux only.
func Pin(int) error { return errors.New("pinning to a processor works on Linux only; use --cpu -1") }

func usableCPUs() int { return runtime.GOMAXPROCS(0) }

func processCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func peakRSS() float64 { return 0 }
