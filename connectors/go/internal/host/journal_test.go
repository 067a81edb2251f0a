package host

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"wharf/connectors/internal/hostpb"
	"wharf/connectors/internal/signalstore"
)

func otherEvent(name string) *hostpb.Event {
	return &hostpb.Event{Body: &hostpb.Event_Other{Other: &hostpb.OtherEvent{Type: name}}}
}

// append is one thing that was given to a journal, as a model sees it.
type appended struct {
	seq    int
	item   string
	value  string
	event  string
	inOpen int // number of the open message it belongs to, 0: none
}

// A journal against what it promises: entries are contiguous, whole, in order, hold the last value of each item, and none
// ends inside an open message; frames are covered when everything before them is durable.
func TestJournalAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := newJournal(1, func() {})
		var log []appended
		var entries []*hostpb.JournalEntry
		var ends []int // number of appends each entry covers
		var frames []struct {
			rests  mark
			needs  int // appends that must be durable
			settle *expectation
		}
		settledAt := map[*expectation]int{}
		durable := 0
		open, opened := false, 0
		covered := func() int {
			if durable == 0 {
				return 0
			}
			return ends[durable-1]
		}
		var pendingExpect *expectation
		t.Repeat(map[string]func(*rapid.T){
			"change": func(t *rapid.T) {
				step := rapid.Bool().Draw(t, "ratchet step")
				if step && !open {
					open, opened = true, opened+1
				}
				a := appended{seq: len(log) + 1, item: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "item"), value: fmt.Sprint(len(log))}
				if open {
					a.inOpen = opened
				}
				log = append(log, a)
				j.Record(signalstore.Change{Name: a.item, Value: []byte(a.value)}, step)
			},
			"event": func(t *rapid.T) {
				a := appended{seq: len(log) + 1, event: fmt.Sprint(len(log))}
				if open {
					a.inOpen = opened
				}
				log = append(log, a)
				j.append(nil, otherEvent(a.event))
			},
			"change with event": func(t *rapid.T) {
				a := appended{seq: len(log) + 1, item: "c", value: fmt.Sprint(len(log)), event: fmt.Sprint(len(log))}
				if open {
					a.inOpen = opened
				}
				log = append(log, a)
				j.append([]*hostpb.ItemChange{{Name: a.item, Value: []byte(a.value)}}, otherEvent(a.event))
			},
			"close with event": func(t *rapid.T) {
				a := appended{seq: len(log) + 1, event: fmt.Sprint(len(log))}
				if open {
					a.inOpen = opened
				}
				log = append(log, a)
				j.close(otherEvent(a.event), pendingExpect)
				if pendingExpect != nil {
					settledAt[pendingExpect] = len(log)
					pendingExpect = nil
				}
				open = false
			},
			"expect": func(t *rapid.T) {
				if pendingExpect == nil {
					pendingExpect = j.expect()
				}
			},
			"frame": func(t *rapid.T) {
				frames = append(frames, struct {
					rests  mark
					needs  int
					settle *expectation
				}{j.mark(), len(log), pendingExpect})
			},
			"take": func(t *rapid.T) {
				e := j.take()
				if e == nil {
					return
				}
				entries = append(entries, e)
				if e.Position != uint64(len(entries)) {
					t.Fatalf("position %d after %d entries", e.Position, len(entries)-1)
				}
				from := 0
				if len(ends) > 0 {
					from = ends[len(ends)-1]
				}
				end, want := entryEnd(log, from, e)
				if !want {
					t.Fatalf("entry %v does not match the appends from %d on: %v", e, from, log[from:])
				}
				if end < len(log) && log[end].inOpen != 0 && log[end-1].inOpen == log[end].inOpen {
					t.Fatalf("entry %d ends inside open message %d", e.Position, log[end].inOpen)
				}
				if open && end == len(log) && log[end-1].inOpen == opened {
					t.Fatalf("entry %d holds the open message", e.Position)
				}
				ends = append(ends, end)
			},
			"durable": func(t *rapid.T) {
				if durable < len(entries) {
					durable += rapid.IntRange(1, len(entries)-durable).Draw(t, "entries")
					j.reached(uint64(durable))
				}
			},
			"": func(t *rapid.T) {
				for i, f := range frames {
					want := f.needs <= covered()
					if f.settle != nil {
						at, ok := settledAt[f.settle]
						want = want && ok && at <= covered()
					}
					if got := j.covered(f.rests); got != want {
						t.Fatalf("frame %d covered: %v, want %v (needs %d, durable %d)", i, got, want, f.needs, covered())
					}
				}
			},
		})
		if open {
			j.close(otherEvent("last"), pendingExpect)
			log = append(log, appended{seq: len(log) + 1, event: "last"})
		}
		for e := j.take(); e != nil; e = j.take() {
			from := 0
			if len(ends) > 0 {
				from = ends[len(ends)-1]
			}
			end, ok := entryEnd(log, from, e)
			if !ok {
				t.Fatalf("entry %v does not match the appends from %d on", e, from)
			}
			ends = append(ends, end)
		}
		if len(log) > 0 && (len(ends) == 0 || ends[len(ends)-1] != len(log)) {
			t.Fatalf("%d appends, entries end at %v", len(log), ends)
		}
		if j.pending() != 0 {
			t.Fatalf("%d bytes are held after everything was taken", j.pending())
		}
	})
}

// entryEnd finds up to where an entry reaches: the shortest stretch of appends whose last values and events it holds.
func entryEnd(log []appended, from int, e *hostpb.JournalEntry) (int, bool) {
	items := map[string]string{}
	var evs []string
	got := map[string]string{}
	for _, c := range e.Changes {
		got[c.Name] = string(c.Value)
	}
	if len(got) != len(e.Changes) {
		return 0, false
	}
	var gotEvents []string
	for _, ev := range e.Events {
		gotEvents = append(gotEvents, ev.GetOther().Type)
	}
	best, found := 0, false
	for i := from; i < len(log); i++ {
		if log[i].item != "" {
			items[log[i].item] = log[i].value
		}
		if log[i].event != "" {
			evs = append(evs, log[i].event)
		}
		if slices.Equal(evs, gotEvents) && sameMap(items, got) {
			best, found = i+1, true
		}
	}
	return best, found
}

func sameMap(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

func TestJournalEnds(t *testing.T) {
	j := newJournal(1, func() {})
	j.append(nil, otherEvent("kept"))
	j.mu.Lock()
	j.seal()
	j.mu.Unlock()
	j.Record(signalstore.Change{Name: "s", Value: []byte("step")}, true)
	frame := j.mark()
	j.kill(false)
	if e := j.take(); e == nil || len(e.Events) != 1 || len(e.Changes) != 0 {
		t.Errorf("what lies before the open message: %v", e)
	}
	if e := j.take(); e != nil {
		t.Errorf("the open message was kept: %v", e)
	}
	if j.append(nil, otherEvent("late")) {
		t.Error("a dead journal takes events")
	}
	j.reached(1)
	if j.covered(frame) {
		t.Error("a dead journal lets frames leave")
	}

	j = newJournal(1, func() {})
	j.append(nil, otherEvent("dropped"))
	j.kill(true)
	if e := j.take(); e != nil || !j.drained() {
		t.Errorf("kept after the connector closed the session: %v", e)
	}
}

// The last event waits for the open message and ends the journal.
func TestJournalFinishes(t *testing.T) {
	j := newJournal(1, func() {})
	j.Record(signalstore.Change{Name: "s", Value: []byte("step")}, true)
	done := make(chan struct{})
	go func() { j.finish(otherEvent("last"), time.Minute); close(done) }()
	j.close(otherEvent("message"), nil)
	<-done
	e := j.take()
	if e == nil || len(e.Events) != 2 || e.Events[1].GetOther().Type != "last" {
		t.Errorf("last entry %v", e)
	}
}

func TestEntriesAreBounded(t *testing.T) {
	j := newJournal(1, func() {})
	for i := range 3 * entryEvents {
		j.append(nil, otherEvent(fmt.Sprint(i)))
	}
	n := 0
	for e := j.take(); e != nil; e = j.take() {
		if n++; len(e.Events) > entryEvents {
			t.Errorf("entry of %d events", len(e.Events))
		}
	}
	if n != 3 {
		t.Errorf("%d entries", n)
	}
}

// wire is a connection's other end.
type wire struct {
	mu  sync.Mutex
	got []string
	net.Conn
}

func (w *wire) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.got = append(w.got, string(b))
	return len(b), nil
}

func (w *wire) Close() error { return nil }

func (w *wire) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.got, "")
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestGate(t *testing.T) {
	j := newJournal(1, func() {})
	w := &wire{}
	g := newGate(w, j, 100, func() {}, func() {}, false)
	write := func(s string) {
		t.Helper()
		if _, err := g.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	write("a")
	eventually(t, "a frame that rests on nothing", func() bool { return w.text() == "a" })
	j.append(nil, otherEvent("1"))
	sent := make(chan string, 2)
	g.whenSent(func() { sent <- "before " + w.text() }, func() { sent <- "after " + w.text() })
	write("b")
	write("c")
	e := j.take()
	j.append(nil, otherEvent("2"))
	write("d")
	g.release()
	if w.text() != "a" || g.heldFrames() != 3 {
		t.Fatalf("left too early: %q", w.text())
	}
	j.reached(e.Position)
	g.release()
	eventually(t, "what entry 1 covers", func() bool { return w.text() == "abc" })
	if got := <-sent; got != "before a" {
		t.Error(got)
	}
	if got := <-sent; got != "after ab" {
		t.Error(got)
	}
	j.reached(j.take().Position)
	g.release()
	eventually(t, "the rest", func() bool { return w.text() == "abcd" })
}

func TestGateOverflows(t *testing.T) {
	j := newJournal(1, func() {})
	over := 0
	g := newGate(&wire{}, j, 4, func() { over++ }, func() {}, false)
	j.append(nil, otherEvent("1"))
	if _, err := g.Write([]byte("1234")); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Write([]byte("5")); err == nil || over != 1 {
		t.Errorf("overflow %d: %v", over, err)
	}
}

func TestGateDropsWithItsConnection(t *testing.T) {
	j := newJournal(1, func() {})
	w := &wire{}
	g := newGate(w, j, 100, func() {}, func() {}, false)
	j.append(nil, otherEvent("1"))
	if _, err := g.Write([]byte("held")); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	j.reached(j.take().Position)
	g.release()
	if _, err := g.Write([]byte("late")); err != net.ErrClosed {
		t.Errorf("write after close: %v", err)
	}
	if w.text() != "" || g.heldFrames() != 0 {
		t.Errorf("left after close: %q", w.text())
	}
}

var _ io.ReadWriteCloser = (*gate)(nil)
