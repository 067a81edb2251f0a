package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"wharf/connectors/internal/sim"
)

const asProgram = "WHARF_SIMULATOR_TEST_PROGRAM"

// TestMain lets the test binary be the program itself, so that what is tested is a process with signals and pipes.
func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

type program struct {
	t       *testing.T
	command *exec.Cmd
	ended   chan error
	info    sim.Info
}

func run(t *testing.T, files []*os.File, args ...string) *program {
	t.Helper()
	ports := filepath.Join(t.TempDir(), "ports.json")
	p := &program{t: t, ended: make(chan error, 1)}
	p.command = exec.CommandContext(t.Context(), os.Args[0], append(args, "--ports-file", ports)...)
	p.command.Env = append(os.Environ(), asProgram+"=1")
	p.command.ExtraFiles = files
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- p.command.Wait() }()
	deadline := time.After(60 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if content, err := os.ReadFile(ports); err == nil {
			if err = json.Unmarshal(content, &p.info); err != nil {
				t.Fatalf("ports file: %v: %s", err, content)
			}
			return p
		}
		select {
		case <-tick.C:
		case err := <-p.ended:
			t.Fatalf("ended before it was ready: %v", err)
		case <-deadline:
			t.Fatal("not ready in time")
		}
	}
}

func (p *program) awaitEnd() {
	p.t.Helper()
	select {
	case err := <-p.ended:
		if err != nil {
			p.t.Errorf("ended with %v", err)
		}
	case <-time.After(5 * time.Second):
		p.t.Error("did not stop within five seconds")
	}
}

func (p *program) post(path, body string) string {
	p.t.Helper()
	answer, err := http.Post("http://"+p.info.ControlAddress+path, "application/json", strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	out, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		p.t.Fatalf("%s: %d %s %v", path, answer.StatusCode, out, err)
	}
	return string(out)
}

func TestStopsOnSIGTERMWithContactsOnline(t *testing.T) {
	p := run(t, nil)
	p.post("/v1/contacts", `{"phone":"491700000001"}`)
	p.post("/v1/contacts", `{"phone":"491700000002","auto_reply":true}`)
	p.post("/v1/contacts/491700000001/flood", `{"to":"491700000002","count":100000,"prefix":"F"}`)
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.awaitEnd()
}

func TestEndsWithItsParent(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := run(t, []*os.File{read}, "--parent-fd", "3")
	if err = read.Close(); err != nil {
		t.Fatal(err)
	}
	if err = write.Close(); err != nil {
		t.Fatal(err)
	}
	p.awaitEnd()
}

// What the server has accepted is there after a kill without warning.
func TestKilledSimulatorGoesOn(t *testing.T) {
	data := t.TempDir()
	first := run(t, nil, "--data", data)
	first.post("/v1/contacts", `{"phone":"491700000001"}`)
	first.post("/v1/contacts", `{"phone":"491700000002"}`)
	first.post("/v1/contacts/491700000001/send", `{"to":"491700000002","text":"warm","id":"M0"}`)
	first.post("/v1/phones/491700000002/faults", `{"hold_delivery":true}`)
	first.post("/v1/contacts/491700000001/send", `{"to":"491700000002","text":"kept","id":"M1"}`)
	if err := first.command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-first.ended
	second := run(t, nil, "--data", data)
	if second.info.RootPublicKey != first.info.RootPublicKey {
		t.Error("the root key has changed")
	}
	second.post("/v1/contacts", `{"phone":"491700000002"}`)
	second.post("/v1/contacts/491700000001/send", `{"to":"491700000002","text":"more","id":"M2"}`)
	deadline := time.After(60 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !second.has("M1") || !second.has("M2") {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("a message is missing after the kill")
		}
	}
	if err := second.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	second.awaitEnd()
}

// has tells whether the second contact decrypted a message, once.
func (p *program) has(id string) bool {
	p.t.Helper()
	answer, err := http.Get("http://" + p.info.ControlAddress + "/v1/ledger?to=491700000002")
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	var ledger struct {
		Received []struct {
			ID    string
			Count int
		}
	}
	if err = json.NewDecoder(answer.Body).Decode(&ledger); err != nil {
		p.t.Fatal(err)
	}
	for _, r := range ledger.Received {
		if r.ID == id && r.Count == 1 {
			return true
		}
	}
	return false
}

func TestBadArgumentsAreRefused(t *testing.T) {
	for _, args := range [][]string{{"--no-such-flag"}, {"laod"}, {"load", "--pairs", "0"}, {"--listen", "not an address"}} {
		command := exec.CommandContext(t.Context(), os.Args[0], args...)
		command.Env = append(os.Environ(), asProgram+"=1")
		if out, err := command.CombinedOutput(); err == nil {
			t.Errorf("%v was taken: %s", args, out)
		}
	}
}
