package host

import (
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"wharf/connectors/internal/hostpb"
	"wharf/connectors/internal/signalstore"
)

// The journal of one session. Handlers append changes and events; the writer takes entries; the connector reports
// positions durable; the gate asks whether what a frame rests on is.
//
//   - An entry is one or more appends, whole. Within it the last value of an item is enough.
//   - A received message is open from its first ratchet step to its event. No entry ends in between: a crash after such an
//     entry would come back with the ratchet moved on and the event lost.
//   - A mark is the journal as it stands: it is covered once everything before it is durable, and once the events that were
//     expected at the time (a message that whatsmeow acks before it tells us) are too.

// entryBytes and entryEvents bound an entry; a message that is open may exceed them.
const (
	entryBytes  = 256 << 10
	entryEvents = 256
)

type journal struct {
	session uint64
	notify  func() // there may be an entry to take; must not block
	cutOpen bool   // mutant: entries end inside open messages

	mu       sync.Mutex
	seq      uint64 // appends so far
	current  segment
	sealed   []segment
	position uint64 // of the last entry taken
	taken    []taken
	durable  uint64 // everything up to this seq is durable
	bytes    int    // held here: current and sealed

	cond      *sync.Cond
	open      bool
	opened    uint64 // messages opened so far
	openSince time.Time
	wantCut   bool
	dead      bool
	expected  []*expectation
}

// segment is a future entry.
type segment struct {
	changes []*hostpb.ItemChange
	index   map[string]int // of changes, by name
	events  []*hostpb.Event
	seq     uint64
	bytes   int
}

func (s *segment) empty() bool { return len(s.changes) == 0 && len(s.events) == 0 }

// taken is an entry on its way to being durable.
type taken struct{ position, seq uint64 }

// expectation is an event that will come: frames written while it is expected rest on it.
type expectation struct{ seq uint64 } // 0: not there yet

// mark is what a frame rests on.
type mark struct {
	seq      uint64
	expected []*expectation
}

func newJournal(session uint64, notify func()) *journal {
	j := &journal{session: session, notify: notify}
	j.cond = sync.NewCond(&j.mu)
	return j
}

// Record takes a change of the store (signalstore.Journal).
func (j *journal) Record(change signalstore.Change, ratchetStep bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.dead {
		return
	}
	if ratchetStep && !j.open {
		j.sealIfWanted()
		j.open, j.openSince = true, time.Now()
		j.opened++
	}
	j.seq++
	j.change(&hostpb.ItemChange{Name: change.Name, Value: change.Value, Tombstone: change.Tombstone})
	j.after()
}

// append takes changes and events that belong together; false when the session is dead.
func (j *journal) append(changes []*hostpb.ItemChange, events ...*hostpb.Event) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.appendLocked(changes, events)
}

func (j *journal) appendLocked(changes []*hostpb.ItemChange, events []*hostpb.Event) bool {
	if j.dead {
		return false
	}
	if len(changes) == 0 && len(events) == 0 {
		return true
	}
	j.seq++
	for _, c := range changes {
		j.change(c)
	}
	for _, e := range events {
		j.current.events = append(j.current.events, e)
		j.grow(proto.Size(e) + 8)
	}
	j.after()
	return true
}

// close appends the event of the open message, if there is one, settles what waited for it and closes the message.
func (j *journal) close(event *hostpb.Event, settles *expectation) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.settleLocked(event, settles, j.opened)
}

// settle appends a late event of a message that was opened as number opened, and closes that one only.
func (j *journal) settle(event *hostpb.Event, settles *expectation, opened uint64) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.settleLocked(event, settles, opened)
}

func (j *journal) settleLocked(event *hostpb.Event, settles *expectation, opened uint64) bool {
	if event != nil && !j.appendLocked(nil, []*hostpb.Event{event}) {
		return false
	}
	if settles != nil {
		settles.seq = j.seq
		j.expected = slices.DeleteFunc(j.expected, func(e *expectation) bool { return e == settles })
	}
	if j.open && j.opened == opened {
		j.open = false
		j.cond.Broadcast()
	}
	j.sealIfWanted()
	j.after()
	return !j.dead
}

// openNumber is the number of the message opened last.
func (j *journal) openNumber() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.opened
}

// finish appends the last event of the session once no message is open, at the latest after wait, and ends the journal.
func (j *journal) finish(event *hostpb.Event, wait time.Duration) {
	deadline := time.Now().Add(wait)
	t := time.AfterFunc(wait, func() {
		j.mu.Lock()
		j.cond.Broadcast()
		j.mu.Unlock()
	})
	defer t.Stop()
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.open && !j.dead && time.Now().Before(deadline) {
		j.cond.Wait()
	}
	if j.isOpen() {
		j.dropOpen()
	}
	if event != nil {
		j.appendLocked(nil, []*hostpb.Event{event})
	}
	j.killLocked(false)
}

// expect makes frames written from now on rest on an event to come.
func (j *journal) expect() *expectation {
	j.mu.Lock()
	defer j.mu.Unlock()
	e := &expectation{}
	j.expected = append(j.expected, e)
	return e
}

func (j *journal) change(c *hostpb.ItemChange) {
	size := len(c.Name) + len(c.Value) + 8
	s := &j.current
	if i, ok := s.index[c.Name]; ok {
		j.grow(size - (len(s.changes[i].Name) + len(s.changes[i].Value) + 8))
		s.changes[i] = c
		return
	}
	if s.index == nil {
		s.index = make(map[string]int)
	}
	s.index[c.Name] = len(s.changes)
	s.changes = append(s.changes, c)
	j.grow(size)
}

func (j *journal) grow(n int) {
	j.current.bytes += n
	j.bytes += n
}

// after an append: the current segment covers it, and ends here if it is large enough.
func (j *journal) after() {
	j.current.seq = j.seq
	if !j.isOpen() && (j.current.bytes >= entryBytes || len(j.current.events) >= entryEvents) {
		j.seal()
	}
	j.notify()
}

func (j *journal) isOpen() bool { return j.open && !j.cutOpen }

func (j *journal) sealIfWanted() {
	if j.wantCut && !j.isOpen() {
		j.seal()
	}
}

func (j *journal) seal() {
	j.wantCut = false
	if j.current.empty() {
		return
	}
	j.sealed = append(j.sealed, j.current)
	j.current = segment{}
}

// take gives the next entry, nil when there is none or the only one is still open; then the writer is told again when it
// has closed.
func (j *journal) take() *hostpb.JournalEntry {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.sealed) == 0 {
		if j.isOpen() {
			j.wantCut = !j.current.empty()
			return nil
		}
		j.seal()
	}
	if len(j.sealed) == 0 {
		return nil
	}
	s := j.sealed[0]
	j.sealed[0] = segment{}
	if j.sealed = j.sealed[1:]; len(j.sealed) == 0 {
		j.sealed = nil
	}
	j.bytes -= s.bytes
	j.position++
	j.taken = append(j.taken, taken{j.position, s.seq})
	return &hostpb.JournalEntry{Session: j.session, Position: j.position, Changes: s.changes, Events: s.events}
}

// reached takes the connector's word that everything up to position is durable.
func (j *journal) reached(position uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := 0
	for n < len(j.taken) && j.taken[n].position <= position {
		j.durable = j.taken[n].seq
		n++
	}
	if j.taken = j.taken[n:]; len(j.taken) == 0 {
		j.taken = nil
	}
}

// mark is what a frame written now rests on.
func (j *journal) mark() mark {
	j.mu.Lock()
	defer j.mu.Unlock()
	m := mark{seq: j.seq}
	if len(j.expected) > 0 {
		m.expected = append([]*expectation(nil), j.expected...)
	}
	return m
}

// covered tells whether a frame may leave.
func (j *journal) covered(m mark) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.dead || m.seq > j.durable {
		return false
	}
	for _, e := range m.expected {
		if e.seq == 0 || e.seq > j.durable {
			return false
		}
	}
	return true
}

// openFor tells how long the open message has been open, 0 when none is.
func (j *journal) openFor(now time.Time) time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.open {
		return 0
	}
	return now.Sub(j.openSince)
}

func (j *journal) pending() (bytes int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.bytes
}

// kill ends the journal: nothing is appended any more and no frame is covered. What lies before the open message can
// still be taken, unless everything is to be dropped.
func (j *journal) kill(drop bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.killLocked(drop)
}

func (j *journal) killLocked(drop bool) {
	if drop {
		for _, s := range j.sealed {
			j.bytes -= s.bytes
		}
		j.sealed = nil
	}
	if drop || j.isOpen() {
		j.dropOpen()
	}
	j.dead = true
	j.cond.Broadcast()
	j.notify()
}

// dropOpen forgets the segment with the open message.
func (j *journal) dropOpen() {
	j.bytes -= j.current.bytes
	j.current = segment{}
	j.open = false
}

// drained tells that nothing is left to take after kill.
func (j *journal) drained() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.sealed) == 0 && j.current.empty()
}
