package host

import (
	"context"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"wharf/connectors/internal/hostpb"
)

// talk runs a host on a pipe and gives the connector's end.
func talk(t *testing.T, cfg Config) (*Host, net.Conn, <-chan error) {
	t.Helper()
	ours, theirs := net.Pipe()
	cfg.Log = quiet
	h, err := New(theirs, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- h.Run(context.Background()) }()
	t.Cleanup(func() { ours.Close() })
	return h, ours, ended
}

func write(t *testing.T, w io.Writer, m *hostpb.ToHost) {
	t.Helper()
	b, err := appendFrame(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, r io.Reader) *hostpb.FromHost {
	t.Helper()
	m := &hostpb.FromHost{}
	if _, err := readFrame(r, nil, m); err != nil {
		t.Fatal(err)
	}
	return m
}

func hello(version uint32) *hostpb.ToHost {
	return &hostpb.ToHost{Body: &hostpb.ToHost_Hello{Hello: &hostpb.Hello{ProtocolVersion: version, CreditBytes: 100}}}
}

func TestHello(t *testing.T) {
	_, conn, _ := talk(t, Config{Version: "1.2"})
	write(t, conn, hello(ProtocolVersion))
	if r := read(t, conn).GetHelloReply(); r.Error != "" || r.HostVersion != "1.2" {
		t.Errorf("reply %v", r)
	}
	_, conn, ended := talk(t, Config{})
	write(t, conn, hello(ProtocolVersion+1))
	if r := read(t, conn).GetHelloReply(); !strings.Contains(r.Error, "protocol version") {
		t.Errorf("reply %v", r)
	}
	if err := <-ended; err == nil {
		t.Error("the host goes on after a wrong version")
	}
	_, conn, ended = talk(t, Config{})
	write(t, conn, &hostpb.ToHost{Body: &hostpb.ToHost_Credit{Credit: &hostpb.Credit{}}})
	if err := <-ended; err == nil {
		t.Error("a message before Hello was accepted")
	}
}

func TestConnectorEnds(t *testing.T) {
	_, conn, ended := talk(t, Config{})
	conn.Close()
	if err := <-ended; err != nil {
		t.Errorf("end of file: %v", err)
	}
}

// Without credit nothing of the journal is sent; what is sent is counted.
func TestCredit(t *testing.T) {
	h, conn, _ := talk(t, Config{})
	write(t, conn, &hostpb.ToHost{Body: &hostpb.ToHost_Hello{Hello: &hostpb.Hello{ProtocolVersion: ProtocolVersion, CreditBytes: 1}}})
	read(t, conn)
	for session := range uint64(2) {
		write(t, conn, &hostpb.ToHost{Body: &hostpb.ToHost_OpenSession{OpenSession: &hostpb.OpenSession{Session: session + 1}}})
	}
	write(t, conn, &hostpb.ToHost{Body: &hostpb.ToHost_OpenSession{OpenSession: &hostpb.OpenSession{Session: 1}}})
	if c := read(t, conn).GetClosed(); c.GetReason() != "session_number_in_use" {
		t.Errorf("a number twice: %v", c)
	}
	for _, s := range h.all() {
		s.journal.append(nil, otherEvent("x"))
	}
	first := read(t, conn).GetEntry()
	if first == nil {
		t.Fatal("no entry although there was credit")
	}
	h.link.mu.Lock()
	credit := h.link.credit
	h.link.mu.Unlock()
	if credit >= 0 {
		t.Errorf("credit %d after an entry for 1", credit)
	}
	write(t, conn, &hostpb.ToHost{Body: &hostpb.ToHost_Credit{Credit: &hostpb.Credit{Bytes: 1000}}})
	if second := read(t, conn).GetEntry(); second == nil || second.Session == first.Session {
		t.Errorf("second entry %v", second)
	}
}

// Sessions take turns: one with much to say does not keep the others waiting.
func TestTurns(t *testing.T) {
	h, conn, _ := talk(t, Config{})
	write(t, conn, &hostpb.ToHost{Body: &hostpb.ToHost_Hello{Hello: &hostpb.Hello{ProtocolVersion: ProtocolVersion}}})
	read(t, conn)
	for _, id := range []uint64{1, 2} {
		write(t, conn, &hostpb.ToHost{Body: &hostpb.ToHost_OpenSession{OpenSession: &hostpb.OpenSession{Session: id}}})
	}
	eventually(t, "two sessions", func() bool { return len(h.all()) == 2 })
	for range 3 * entryEvents {
		h.session(1).journal.append(nil, otherEvent("much"))
	}
	h.session(2).journal.append(nil, otherEvent("little"))
	write(t, conn, &hostpb.ToHost{Body: &hostpb.ToHost_Credit{Credit: &hostpb.Credit{Bytes: 1 << 20}}})
	var order []uint64
	for range 4 {
		order = append(order, read(t, conn).GetEntry().GetSession())
	}
	if order[0] != 2 && order[1] != 2 {
		t.Errorf("order %v", order)
	}
}

func TestTelemetry(t *testing.T) {
	h, conn, ended := talk(t, Config{})
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		h.Telemetry().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code, w.Body.String()
	}
	if code, body := get("/healthz"); code != 200 || !strings.Contains(body, "ok") {
		t.Errorf("health %d %s", code, body)
	}
	if _, body := get("/metrics"); !strings.Contains(body, "wharf_host_sessions ") || !strings.Contains(body, "wharf_host_journal_entries_total") {
		t.Errorf("metrics %s", body)
	}
	conn.Close()
	<-ended
	if code, _ := get("/healthz"); code != 503 {
		t.Errorf("health after the end: %d", code)
	}
}

func TestSwitches(t *testing.T) {
	if _, err := newSwitches(false, "no-output-gate"); err == nil {
		t.Error("a mutant without --allow-crash")
	}
	if _, err := newSwitches(true, "no-such-mutant"); err == nil {
		t.Error("an unknown mutant")
	}
	sw, err := newSwitches(false, "")
	if err != nil {
		t.Fatal(err)
	}
	if sw.crashAt("after_wire", 1) == nil {
		t.Error("a crash point without --allow-crash")
	}
	sw, err = newSwitches(true, "")
	if err != nil {
		t.Fatal(err)
	}
	if sw.crashAt("no_such_point", 1) == nil {
		t.Error("an unknown crash point")
	}
	died := 0
	sw.die = func() { died++ }
	if err := sw.crashAt("after_wire", 2); err != nil {
		t.Fatal(err)
	}
	for _, point := range []string{"after_wire", "after_ratchet"} {
		sw.pass(point)
	}
	if died != 0 {
		t.Error("died too early")
	}
	sw.pass("after_wire")
	sw.pass("after_wire")
	if died != 1 {
		t.Errorf("died %d times", died)
	}
}

func TestBackoff(t *testing.T) {
	v := defaultSupervision
	if d := v.backoff(0); d != 0 {
		t.Errorf("first try after %v", d)
	}
	for tries := 1; tries < 40; tries++ {
		if d := v.backoff(tries); d <= 0 || d > v.reconnectMost {
			t.Errorf("try %d after %v", tries, d)
		}
	}
}
