package host

import (
	"testing"
	"time"
)

func TestLease(t *testing.T) {
	now := time.Minute
	l := newLease(func() time.Duration { return now })
	if !l.holds() {
		t.Error("none was given, none may be asked for")
	}
	l.renew(now + time.Second)
	if !l.holds() {
		t.Error("it has a second left")
	}
	now += time.Second
	if l.holds() {
		t.Error("it has ended")
	}
	l.renew(now + time.Second)
	if !l.holds() {
		t.Error("it was renewed")
	}
}

func TestMonotonicIsTheClockOfOtherProcesses(t *testing.T) {
	if first, second := monotonic(), monotonic(); first <= 0 || second < first {
		t.Fatalf("%v, then %v", first, second)
	}
}
