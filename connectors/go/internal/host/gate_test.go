package host

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"wharf/connectors/internal/hostpb"
	"wharf/connectors/internal/signalstore"
)

// settled waits until nothing is being written.
func (g *gate) settled(t *rapid.T) {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Microsecond) {
		g.mu.Lock()
		idle := !g.flushing
		g.mu.Unlock()
		if idle {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the gate does not come to rest")
		}
	}
}

// gateFrame is a frame as the model sees it.
type gateFrame struct {
	text   string
	needs  int          // appends that must be durable
	settle *expectation // an event that must be durable too
}

// The gate against what it promises, over reconnects and crashes: what is on the wire is exactly the longest beginning of
// what was written on this connection whose ground is durable: everything journaled before, and the events expected then.
func TestGateAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var (
			j        *journal
			g        *gate
			w        *wire
			log      []appended
			ends     []int
			durable  int
			written  int
			frames   []gateFrame
			pending  *expectation
			settleAt map[*expectation]int
			open     bool
			opened   int
		)
		connect := func() {
			w = &wire{}
			g = newGate(w, j, 1<<20, func() {}, func() {}, false)
			frames = nil
		}
		start := func() {
			j = newJournal(1, func() {})
			log, ends, durable, pending, open, opened = nil, nil, 0, nil, false, 0
			settleAt = map[*expectation]int{}
			connect()
		}
		start()
		covered := func() int {
			if durable == 0 {
				return 0
			}
			return ends[durable-1]
		}
		note := func(a appended) {
			a.seq = len(log) + 1
			if open {
				a.inOpen = opened
			}
			log = append(log, a)
		}
		expected := func() string {
			var out strings.Builder
			for _, f := range frames {
				at, ok := settleAt[f.settle]
				if f.needs > covered() || f.settle != nil && (!ok || at > covered()) {
					break
				}
				out.WriteString(f.text)
			}
			return out.String()
		}
		look := func(t *rapid.T) {
			g.release()
			g.settled(t)
			if got, want := w.text(), expected(); got != want {
				t.Fatalf("on the wire %q, want %q of %v (%d durable)", got, want, frames, covered())
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"change": func(t *rapid.T) {
				step := rapid.Bool().Draw(t, "ratchet step")
				if step && !open {
					open, opened = true, opened+1
				}
				value := fmt.Sprint(len(log))
				note(appended{item: "a", value: value})
				j.Record(signalstore.Change{Name: "a", Value: []byte(value)}, step)
			},
			"event": func(*rapid.T) {
				name := fmt.Sprint(len(log))
				note(appended{event: name})
				j.append(nil, otherEvent(name))
			},
			"close": func(*rapid.T) {
				name := fmt.Sprint(len(log))
				note(appended{event: name})
				j.close(otherEvent(name), pending)
				if pending != nil {
					settleAt[pending], pending = len(log), nil
				}
				open = false
			},
			"expect": func(*rapid.T) {
				if pending == nil {
					pending = j.expect()
				}
			},
			"write": func(t *rapid.T) {
				written++
				f := gateFrame{fmt.Sprintf("<%d>", written), len(log), pending}
				frames = append(frames, f)
				if _, err := g.Write([]byte(f.text)); err != nil {
					t.Fatal(err)
				}
			},
			"take": func(t *rapid.T) {
				from := 0
				if len(ends) > 0 {
					from = ends[len(ends)-1]
				}
				var e *hostpb.JournalEntry
				if e = j.take(); e == nil {
					return
				}
				end, ok := entryEnd(log, from, e)
				if !ok {
					t.Fatalf("entry %v does not match the appends from %d on", e, from)
				}
				ends = append(ends, end)
			},
			"durable": func(t *rapid.T) {
				if durable < len(ends) {
					durable += rapid.IntRange(1, len(ends)-durable).Draw(t, "entries")
					j.reached(uint64(durable))
				}
			},
			"reconnect": func(t *rapid.T) {
				look(t)
				old, gone := g, w
				before := gone.text()
				connect()
				old.drop()
				old.release()
				old.settled(t)
				if gone.text() != before || old.heldFrames() != 0 {
					t.Fatalf("left on a connection that was given up: %q after %q", gone.text(), before)
				}
			},
			"crash": func(t *rapid.T) {
				look(t)
				// Torn down: what is committed later lets nothing leave any more.
				j.kill(true)
				before := w.text()
				j.reached(uint64(len(ends)))
				g.release()
				g.settled(t)
				if w.text() != before {
					t.Fatalf("left after the end of the session: %q after %q", w.text(), before)
				}
				start()
			},
			"": look,
		})
	})
}
