// Package e2e runs the host's program against the simulator, with a small connector that commits in memory.
package e2e

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"wharf/connectors/internal/hostpb"
	"wharf/connectors/internal/sim"
)

var hostBinary string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "wharf-host-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	hostBinary = filepath.Join(dir, "wharf-host")
	args := []string{"build", "-o", hostBinary}
	if raceDetector {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "wharf/connectors/cmd/wharf-host")...)
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "building the host:", err)
		return 1
	}
	return m.Run()
}

// connector is a connector as far as the host can tell: it commits entries in memory, one at a time.
type connector struct {
	t      *testing.T
	sim    *sim.Simulator
	mutant string
	unread uint32                      // Hello.max_unacked_nodes
	watch  *hostpb.Supervision         // Hello.supervision
	proxy  string                      // SessionSettings.proxy
	typing time.Duration               // Hello.phone_code_ms
	leases bool                        // Hello.leases
	take   func(*hostpb.FromHost, int) // what is done with a message and its size

	mu       sync.Mutex
	cond     *sync.Cond
	items    map[string][]byte // committed state, of one instance
	events   []*hostpb.Event   // committed events
	held     bool              // entries arrive and are not committed
	waiting  []*hostpb.JournalEntry
	session  uint64
	position uint64
	closed   []*hostpb.SessionClosed
	stats    *hostpb.HostStats
	process  *exec.Cmd
	exit     error
	conn     net.Conn
	gone     chan struct{} // closed when the process's socket has ended
	writing  sync.Mutex
}

func newConnector(t *testing.T, s *sim.Simulator) *connector {
	c := &connector{t: t, sim: s, items: map[string][]byte{}}
	c.cond = sync.NewCond(&c.mu)
	c.take = c.receive
	t.Cleanup(c.kill)
	return c
}

// start runs a host process; what an earlier one left uncommitted is dropped.
func (c *connector) start() {
	c.t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		c.t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	conn, err := net.FileConn(ours)
	if err != nil {
		c.t.Fatal(err)
	}
	ours.Close()
	args := []string{"--allow-crash", "--log-level", "warn"}
	if c.mutant != "" {
		args = append(args, "--mutant", c.mutant)
	}
	cmd := exec.Command(hostBinary, args...)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = logWriter{c.t}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	theirs.Close()
	gone := make(chan struct{})
	c.mu.Lock()
	c.process, c.conn, c.gone, c.waiting = cmd, conn, gone, nil
	c.mu.Unlock()
	info := c.sim.Info("")
	root, err := hex.DecodeString(info.RootPublicKey)
	if err != nil {
		c.t.Fatal(err)
	}
	c.tell(&hostpb.ToHost{Body: &hostpb.ToHost_Hello{Hello: &hostpb.Hello{
		ProtocolVersion: 1, CreditBytes: 1 << 20, AckTimeoutMs: 1500, HandlerLimitMs: 5000, MaxUnackedNodes: c.unread, Supervision: c.watch,
		PhoneCodeMs: uint32(c.typing.Milliseconds()),
		Leases:      c.leases,
		Simulator:   &hostpb.Simulator{Address: info.WhatsAppAddress, RootPublicKey: root, TlsCaPem: info.TLSCAPEM},
	}}})
	if c.leases {
		c.lease(time.Minute)
	}
	go c.read(conn, cmd, gone, c.take)
}

type logWriter struct{ t *testing.T }

func (w logWriter) Write(b []byte) (int, error) {
	w.t.Logf("host: %s", b)
	return len(b), nil
}

func (c *connector) read(conn net.Conn, cmd *exec.Cmd, gone chan struct{}, take func(*hostpb.FromHost, int)) {
	defer func() {
		exit := cmd.Wait()
		c.mu.Lock()
		c.exit = exit
		close(gone)
		c.cond.Broadcast()
		c.mu.Unlock()
	}()
	for {
		var head [4]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return
		}
		b := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(conn, b); err != nil {
			return
		}
		m := &hostpb.FromHost{}
		if err := proto.Unmarshal(b, m); err != nil {
			c.t.Errorf("from host: %v", err)
			return
		}
		take(m, len(b))
	}
}

// receive is the usual take.
func (c *connector) receive(m *hostpb.FromHost, size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.cond.Broadcast()
	switch b := m.Body.(type) {
	case *hostpb.FromHost_HelloReply:
		if b.HelloReply.Error != "" || b.HelloReply.LibraryVersion == "" {
			c.t.Errorf("hello: %v", b.HelloReply)
		}
	case *hostpb.FromHost_Closed:
		c.closed = append(c.closed, b.Closed)
	case *hostpb.FromHost_Stats:
		c.stats = b.Stats
	case *hostpb.FromHost_Entry:
		if b.Entry.Session != c.session {
			return // of a session that was closed
		}
		go c.tell(&hostpb.ToHost{Body: &hostpb.ToHost_Credit{Credit: &hostpb.Credit{Bytes: uint64(size)}}})
		if c.held {
			c.waiting = append(c.waiting, b.Entry)
			return
		}
		c.commit(b.Entry)
	}
}

// commit applies an entry at once and says so; c.mu is held.
func (c *connector) commit(e *hostpb.JournalEntry) {
	c.position++
	if e.Position != c.position {
		c.t.Errorf("position %d after %d", e.Position, c.position-1)
	}
	for _, ch := range e.Changes {
		if ch.Tombstone {
			delete(c.items, ch.Name)
		} else {
			c.items[ch.Name] = ch.Value
		}
	}
	c.events = append(c.events, e.Events...)
	go c.tell(&hostpb.ToHost{Body: &hostpb.ToHost_Durable{Durable: &hostpb.Durable{
		Positions: []*hostpb.Position{{Session: e.Session, Position: e.Position}},
	}}})
}

func (c *connector) tell(m *hostpb.ToHost) {
	b, err := proto.Marshal(m)
	if err != nil {
		c.t.Errorf("to host: %v", err)
		return
	}
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	c.writing.Lock()
	defer c.writing.Unlock()
	// A host that has died is seen by read.
	_, _ = conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
}

// hold stops committing; release goes on with what has come meanwhile.
func (c *connector) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = true
}

func (c *connector) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = false
	for _, e := range c.waiting {
		c.commit(e)
	}
	c.waiting = nil
}

// open opens the instance's next session from the committed items.
func (c *connector) open() {
	c.mu.Lock()
	c.session++
	c.position, c.waiting = 0, nil
	session := c.session
	restore := &hostpb.RestoreItems{Session: session, Last: true}
	for name, value := range c.items {
		restore.Items = append(restore.Items, &hostpb.Item{Name: name, Value: value})
	}
	c.mu.Unlock()
	c.tell(&hostpb.ToHost{Body: &hostpb.ToHost_OpenSession{OpenSession: &hostpb.OpenSession{
		Session: session, InstanceId: "it", Simulated: true, Settings: &hostpb.SessionSettings{ActiveReceipts: true, Proxy: c.proxy},
	}}})
	c.tell(&hostpb.ToHost{Body: &hostpb.ToHost_RestoreItems{RestoreItems: restore}})
}

// reopen closes the session as after a failed commit: what was not committed is lost.
func (c *connector) reopen() {
	c.mu.Lock()
	session := c.session
	c.held, c.waiting = false, nil
	c.session++ // its entries do not count any more
	c.mu.Unlock()
	c.tell(&hostpb.ToHost{Body: &hostpb.ToHost_CloseSession{CloseSession: &hostpb.CloseSession{Session: session, Reason: "commit failed"}}})
	c.await("the session closed", func() bool {
		for _, cl := range c.closed {
			if cl.Session == session {
				return true
			}
		}
		return false
	})
	c.open()
}

// kill ends the process at once.
func (c *connector) kill() {
	c.mu.Lock()
	p, conn, gone := c.process, c.conn, c.gone
	c.process = nil
	c.mu.Unlock()
	if p == nil {
		return
	}
	_ = p.Process.Kill() // it may have killed itself
	<-gone
	conn.Close()
}

// restart kills the process, if it lives, and opens the instance in a new one.
func (c *connector) restart() {
	c.t.Helper()
	c.kill()
	c.mu.Lock()
	c.held = false
	c.mu.Unlock()
	c.start()
	c.open()
}

// crashAt arms a crash point and waits until the host has taken it, which the answer to a later command shows.
func (c *connector) crashAt(point string, passage uint32) {
	c.t.Helper()
	from := c.mark()
	c.tell(&hostpb.ToHost{Body: &hostpb.ToHost_CrashAt{CrashAt: &hostpb.CrashAt{Point: point, Passage: passage}}})
	c.tell(&hostpb.ToHost{Body: &hostpb.ToHost_Mark{Mark: &hostpb.Mark{Session: c.session, CommandId: "armed", Kind: "none"}}})
	c.await("the answer after arming", func() bool {
		select {
		case <-c.gone:
			return true
		default:
		}
		for _, e := range c.events[from:] {
			if e.GetSendFinished().GetCommandId() == "armed" {
				return true
			}
		}
		return false
	})
}

// died waits for the process to be gone.
func (c *connector) died() {
	c.t.Helper()
	select {
	case <-c.gone:
	case <-time.After(patience):
		c.t.Fatal("the host did not reach the crash point")
	}
}

const patience = 40 * time.Second

// await waits until a condition of the connector's state holds; c.mu is held while it is evaluated.
func (c *connector) await(what string, condition func() bool) {
	c.t.Helper()
	if !c.within(patience, condition) {
		c.t.Fatalf("waited in vain for %s", what)
	}
}

// within tells whether a condition came to hold in time.
func (c *connector) within(wait time.Duration, condition func() bool) bool {
	deadline := time.Now().Add(wait)
	t := time.AfterFunc(wait, func() { c.mu.Lock(); c.cond.Broadcast(); c.mu.Unlock() })
	defer t.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for !condition() {
		if time.Now().After(deadline) {
			return false
		}
		c.cond.Wait()
	}
	return true
}

// mark is the number of committed events so far: conditions about what comes after it.
func (c *connector) mark() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.events)
}

func (c *connector) awaitEvent(what string, from int, match func(*hostpb.Event) bool) (found *hostpb.Event) {
	c.t.Helper()
	c.await(what, func() bool {
		for _, e := range c.events[from:] {
			if match(e) {
				found = e
				return true
			}
		}
		return false
	})
	return found
}

func (c *connector) awaitState(from int, state hostpb.SessionState_State) *hostpb.SessionState {
	c.t.Helper()
	return c.awaitEvent(state.String(), from, func(e *hostpb.Event) bool {
		return e.GetState() != nil && e.GetState().State == state
	}).GetState()
}

// texts counts the committed message events by id.
func (c *connector) texts() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.textsLocked()
}

func (c *connector) textsLocked() map[string]int {
	out := map[string]int{}
	for _, e := range c.events {
		if m := e.GetMessage(); m != nil && !m.FromMe {
			out[m.Key.Id]++
		}
	}
	return out
}

func startSimulator(t *testing.T) *sim.Simulator {
	t.Helper()
	s, err := sim.Start(sim.Options{
		Listen: "127.0.0.1:0", Now: time.Now, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("simulator: %v", err)
		}
	})
	return s
}
