package host

import (
	"testing"
	"time"

	"wharf/connectors/internal/hostpb"
)

func TestLease(t *testing.T) {
	now := time.Minute
	l := newLease(func() time.Duration { return now })
	if !l.holds() {
		t.Error("none is asked for")
	}
	l.asked.Store(true)
	if l.holds() {
		t.Error("none was given yet")
	}
	l.renew(now + time.Second)
	if !l.holds() {
		t.Error("it has a second left")
	}
	now += time.Second
	if l.holds() {
		t.Error("it has ended")
	}
}

func TestLeaseKeepsWhatLetsSomethingLeave(t *testing.T) {
	now := time.Minute
	l := newLease(func() time.Duration { return now })
	l.asked.Store(true)
	durable, send := &hostpb.ToHost{Body: &hostpb.ToHost_Durable{}}, &hostpb.ToHost{Body: &hostpb.ToHost_Send{}}
	if !l.keeps(durable) || !l.keeps(send) {
		t.Error("it let them pass")
	}
	if l.keeps(&hostpb.ToHost{Body: &hostpb.ToHost_CloseSession{}}) {
		t.Error("a session may be closed at any time")
	}
	if waiting := l.renew(now); waiting != nil {
		t.Errorf("a lease that has ended already gave %v", waiting)
	}
	if waiting := l.renew(now + 1); len(waiting) != 2 || waiting[0] != durable || waiting[1] != send {
		t.Errorf("gave %v", waiting)
	}
	if l.keeps(send) || l.renew(now+2) != nil {
		t.Error("they came twice")
	}
}

func TestMonotonicIsTheClockOfOtherProcesses(t *testing.T) {
	if first, second := monotonic(), monotonic(); first <= 0 || second < first {
		t.Fatalf("%v, then %v", first, second)
	}
}
