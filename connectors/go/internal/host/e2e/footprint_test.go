package e2e

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.mau.fi/whatsmeow/types"

	"wharf/connectors/internal/hostpb"
	"wharf/connectors/internal/sim/contacts"
)

// TestFootprint measures: WHARF_FOOTPRINT=<sessions> go test -run Footprint -v. It prints memory per idle session, and CPU
// per message in both directions; nothing is asserted, the machine decides.
func TestFootprint(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("WHARF_FOOTPRINT"))
	if err != nil || n < 1 {
		t.Skip("WHARF_FOOTPRINT is not set")
	}
	const perSession = 20
	f := &fleet{connector: newConnector(t, startSimulator(t)), online: map[uint64]bool{}, state: map[uint64]map[string][]byte{}}
	f.take = f.commitAll
	f.start()
	base := f.freshStats()
	began := time.Now()
	for i := range n {
		f.openFleet(uint64(i+1), nil)
		if i%10 == 9 {
			f.awaitOnline(i + 1)
		}
	}
	f.awaitOnline(n)
	paired := f.freshStats()
	t.Logf("pairing: %.1f ms CPU each, %v in all", float64(paired.CpuMs-base.CpuMs)/float64(n), time.Since(began))

	f.kill()
	f.mu.Lock()
	clear(f.online)
	f.mu.Unlock()
	f.start()
	base = f.freshStats()
	began = time.Now()
	for i := range n {
		f.openFleet(uint64(i+1), f.state[uint64(i+1)])
	}
	f.awaitOnline(n)
	up := time.Since(began)
	f.freshStats()
	idle := f.freshStats()
	t.Logf("cold start of %d sessions: %v, %.1f ms CPU each", n, up, float64(idle.CpuMs-base.CpuMs)/float64(n))
	t.Logf("idle: RSS %.1f kB per session (process %.1f MB, empty %.1f MB), heap in use %.1f kB, %.1f goroutines per session",
		float64(idle.RssBytes-base.RssBytes)/float64(n)/1024, float64(idle.RssBytes)/1e6, float64(base.RssBytes)/1e6,
		float64(idle.HeapBytes-base.HeapBytes)/float64(n)/1024, float64(idle.Goroutines-base.Goroutines)/float64(n))

	her, err := f.sim.Contacts.Create(t.Context(), herPhone, "Her", false)
	if err != nil {
		t.Fatal(err)
	}
	senders := min(n, 50)
	warm := make(chan struct{}, senders)
	for i := range senders {
		go func() {
			her.Flood(t.Context(), contacts.Flood{To: phoneOf(uint64(i + 1)), Count: 1, Prefix: fmt.Sprintf("W%d-", i)})
			warm <- struct{}{}
		}()
	}
	for range senders {
		<-warm
	}
	f.awaitMessages(senders)
	before := f.freshStats()
	began = time.Now()
	var wg sync.WaitGroup
	for i := range senders {
		wg.Add(1)
		go func() {
			defer wg.Done()
			her.Flood(t.Context(), contacts.Flood{To: phoneOf(uint64(i + 1)), Count: perSession, Prefix: fmt.Sprintf("F%d-", i)})
		}()
	}
	wg.Wait()
	f.awaitMessages(senders * (perSession + 1))
	took := time.Since(began)
	after := f.freshStats()
	total := senders * perSession
	t.Logf("inbound: %d messages, %.2f ms CPU each, %.0f/s", total, float64(after.CpuMs-before.CpuMs)/float64(total), float64(total)/took.Seconds())

	before = after
	began = time.Now()
	for i := range senders {
		for k := range perSession {
			f.tell(&hostpb.ToHost{Body: &hostpb.ToHost_Send{Send: &hostpb.Send{
				Session: uint64(i + 1), CommandId: "c", MessageId: fmt.Sprintf("O%d-%d", i, k), To: herPhone + "@s.whatsapp.net",
				Content: &hostpb.OutgoingContent{Type: "text", Text: "hello"},
			}}})
		}
	}
	f.await("all sends acked", func() bool { return f.acked >= total })
	took = time.Since(began)
	after = f.freshStats()
	t.Logf("outbound: %d messages, %.2f ms CPU each, %.0f/s", total, float64(after.CpuMs-before.CpuMs)/float64(total), float64(total)/took.Seconds())
}

// fleet is a connector of many instances.
type fleet struct {
	*connector
	online   map[uint64]bool
	state    map[uint64]map[string][]byte
	messages int
	acked    int
}

func phoneOf(session uint64) types.JID {
	return types.NewJID(fmt.Sprintf("4915%08d", session), types.DefaultUserServer)
}

// commitAll commits each entry at once; f.mu is held.
func (f *fleet) commitAll(m *hostpb.FromHost, size int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.cond.Broadcast()
	if st := m.GetStats(); st != nil {
		f.stats = st
	}
	e := m.GetEntry()
	if e == nil {
		return
	}
	items := f.state[e.Session]
	if items == nil {
		items = map[string][]byte{}
		f.state[e.Session] = items
	}
	for _, ch := range e.Changes {
		if ch.Tombstone {
			delete(items, ch.Name)
		} else {
			items[ch.Name] = ch.Value
		}
	}
	for _, ev := range e.Events {
		switch {
		case ev.GetPairingCode() != nil:
			go func() {
				if _, err := f.sim.Server.Scan(f.t.Context(), phoneOf(e.Session).User, ev.GetPairingCode().QrCodes[0]); err != nil {
					f.t.Error(err)
				}
			}()
		case ev.GetState().GetState() == hostpb.SessionState_UNPAIRED:
			go f.tell(&hostpb.ToHost{Body: &hostpb.ToHost_Pair{Pair: &hostpb.Pair{Session: e.Session}}})
		case ev.GetState().GetState() == hostpb.SessionState_ONLINE:
			f.online[e.Session] = true
		case ev.GetMessage() != nil:
			f.messages++
		case ev.GetSendFinished().GetOutcome() == hostpb.SendFinished_ACKED:
			f.acked++
		}
	}
	go func() {
		f.tell(&hostpb.ToHost{Body: &hostpb.ToHost_Credit{Credit: &hostpb.Credit{Bytes: uint64(size)}}})
		f.tell(&hostpb.ToHost{Body: &hostpb.ToHost_Durable{Durable: &hostpb.Durable{
			Positions: []*hostpb.Position{{Session: e.Session, Position: e.Position}},
		}}})
	}()
}

func (f *fleet) openFleet(session uint64, items map[string][]byte) {
	restore := &hostpb.RestoreItems{Session: session, Last: true}
	for name, value := range items {
		restore.Items = append(restore.Items, &hostpb.Item{Name: name, Value: value})
	}
	f.tell(&hostpb.ToHost{Body: &hostpb.ToHost_OpenSession{OpenSession: &hostpb.OpenSession{
		Session: session, InstanceId: fmt.Sprintf("it-%d", session), Simulated: true,
	}}})
	f.tell(&hostpb.ToHost{Body: &hostpb.ToHost_RestoreItems{RestoreItems: restore}})
}

func (f *fleet) awaitOnline(n int) {
	f.t.Helper()
	f.await(fmt.Sprintf("%d sessions online", n), func() bool { return len(f.online) >= n })
}

func (f *fleet) awaitMessages(n int) {
	f.t.Helper()
	f.await(fmt.Sprintf("%d messages", n), func() bool { return f.messages >= n })
}

// freshStats waits for the host's next figures.
func (f *fleet) freshStats() (st *hostpb.HostStats) {
	f.t.Helper()
	f.mu.Lock()
	f.stats = nil
	f.mu.Unlock()
	f.await("figures", func() bool { st = f.stats; return st != nil })
	return st
}
