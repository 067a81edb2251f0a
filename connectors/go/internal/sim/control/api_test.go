package control_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"wharf/connectors/internal/sim"
	"wharf/connectors/internal/sim/control"
)

type api struct {
	t   *testing.T
	url string
}

func serve(t *testing.T) *api {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	s, err := sim.Start(sim.Options{Listen: "127.0.0.1:0", Now: time.Now, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(control.Handler(control.Parts{
		Server: s.Server, Contacts: s.Contacts, Ledger: s.Ledger, Info: s.Info("here"), Healthy: s.Err,
		Metrics: control.Metrics(s.Server, s.Ledger), Log: log,
	}))
	t.Cleanup(func() {
		web.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &api{t, web.URL}
}

func (a *api) call(method, path, body string) (int, []byte) {
	a.t.Helper()
	r, err := http.NewRequestWithContext(a.t.Context(), method, a.url+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	out, err := io.ReadAll(answer.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return answer.StatusCode, out
}

func (a *api) ok(method, path, body string) map[string]any {
	a.t.Helper()
	status, out := a.call(method, path, body)
	var value map[string]any
	if err := json.Unmarshal(out, &value); err != nil || status != http.StatusOK {
		a.t.Fatalf("%s %s: %d %s", method, path, status, out)
	}
	return value
}

func TestErrorsHaveACodeAndTheNextStep(t *testing.T) {
	a := serve(t)
	a.ok("POST", "/v1/phones", `{"phone":"491700000001"}`)
	for _, c := range []struct {
		method, path, body string
		status             int
		code, says         string
	}{
		{"GET", "/v1/nothing", "", 404, "sim.no_route", "docs/simulator.md"},
		{"DELETE", "/v1/info", "", 404, "sim.no_route", "docs/simulator.md"},
		{"POST", "/v1/phones", `{"phone":"0123"}`, 400, "sim.invalid", "international"},
		{"POST", "/v1/phones", `{"phone":`, 400, "sim.invalid", "docs/simulator.md"},
		{"POST", "/v1/phones", `{"telephone":"491700000001"}`, 400, "sim.invalid", "telephone"},
		{"POST", "/v1/phones", `{"phone":"491700000001"} {}`, 400, "sim.invalid", "send one"},
		{"GET", "/v1/phones/4999999999", "", 404, "sim.unknown_phone", "POST /v1/phones"},
		{"POST", "/v1/phones/491700000001/scan", `{"qr":"nonsense"}`, 400, "sim.invalid", "ref,noise"},
		{"POST", "/v1/phones/491700000001/scan", `{"qr":"` + unknownQR() + `"}`, 404, "sim.unknown_qr", "ask for a new one"},
		{"POST", "/v1/phones/491700000001/code", `{"code":"ABCDEFGH"}`, 404, "sim.no_code_requested", "start pairing by code"},
		{"POST", "/v1/phones/491700000001/code", `{}`, 400, "sim.invalid", "eight characters"},
		{"POST", "/v1/phones/491700000001/kick", `{}`, 400, "sim.invalid", "give code"},
		{"POST", "/v1/phones/4999999999/kick", `{"hard":true}`, 404, "sim.unknown_phone", "POST /v1/phones"},
		{"POST", "/v1/phones/491700000001/kick", `{"hard":true,"device":3}`, 404, "sim.unknown_device", "GET /v1/phones"},
		{"POST", "/v1/phones/491700000001/fail", `{"reason":200}`, 400, "sim.invalid", "402"},
		{"POST", "/v1/phones/491700000001/fail", `{"reason":402,"times":0}`, 400, "sim.invalid", "1 or more"},
		{"POST", "/v1/phones/491700000001/faults", `{"corupt":1}`, 400, "sim.invalid", "corupt"},
		{"POST", "/v1/phones/491700000001/faults", `{"corrupt":-1}`, 400, "sim.invalid", "negative"},
		{"POST", "/v1/phones/491700000001/faults", `{"ack_error":{"code":1,"n":1}}`, 400, "sim.invalid", "400"},
		{"POST", "/v1/phones/491700000001/faults", `{"media_status":200}`, 400, "sim.invalid", "410"},
		{"POST", "/v1/contacts", `{"phone":"x"}`, 400, "sim.invalid", "international"},
		{"GET", "/v1/contacts/4999999999", "", 404, "sim.unknown_contact", "POST /v1/contacts"},
		{"POST", "/v1/contacts/4999999999/send", `{"to":"491700000001","text":"x"}`, 404, "sim.unknown_contact", "POST /v1/contacts"},
		{"GET", "/v1/ledger?dedupe=perhaps", "", 400, "sim.invalid", "true or false"},
	} {
		status, out := a.call(c.method, c.path, c.body)
		var got struct{ Code, Message string }
		if err := json.Unmarshal(out, &got); err != nil {
			t.Errorf("%s %s: not JSON: %s", c.method, c.path, out)
		}
		if status != c.status || got.Code != c.code || !strings.Contains(got.Message, c.says) {
			t.Errorf("%s %s %s: %d %+v", c.method, c.path, c.body, status, got)
		}
	}
}

func unknownQR() string {
	key := strings.Repeat("A", 43) + "="
	return strings.Join([]string{"ref", key, key, key, "1"}, ",")
}

func TestContactsThroughTheInterface(t *testing.T) {
	a := serve(t)
	made := a.ok("POST", "/v1/contacts", `{"phone":"491700000001","name":"Ann"}`)
	if made["pn"] != "491700000001@s.whatsapp.net" || made["lid"] != "100491700000001@lid" {
		t.Errorf("contact %v", made)
	}
	a.ok("POST", "/v1/contacts", `{"phone":"491700000002","auto_reply":true}`)
	sent := a.ok("POST", "/v1/contacts/491700000001/send", `{"to":"491700000002","text":"hi","id":"A1","quote":{"id":"Q","sender":"491700000002","text":"?"},"mentions":["491700000002"]}`)
	if sent["id"] != "A1" {
		t.Errorf("sent %v", sent)
	}
	flood := a.ok("POST", "/v1/contacts/491700000002/flood", `{"to":"491700000001","count":3,"prefix":"F","rate_per_s":500,"wait":true}`)
	if ids := flood["ids"].([]any); len(ids) != 3 || ids[0] != "F000000" || flood["failed"] != 0.0 {
		t.Errorf("flood %v", flood)
	}
	background := a.ok("POST", "/v1/contacts/491700000002/flood", `{"to":"491700000001","count":2,"prefix":"G"}`)
	if ids := background["ids"].([]any); len(ids) != 2 {
		t.Errorf("flood %v", background)
	}
	a.ok("POST", "/v1/contacts/491700000001/typing", `{"to":"491700000002","typing":true}`)
	a.ok("POST", "/v1/contacts/491700000001/read", `{"from":"491700000002","ids":["F000000"]}`)
	a.await("six messages for Ann", func() bool {
		got := a.ok("GET", "/v1/ledger?to=491700000001&dedupe=true", "")["received"].([]any)
		return len(got) == 6 // three, two, and the echo
	})
	bob := a.ok("GET", "/v1/ledger?from=491700000001&dedupe=false", "")
	if got := bob["received"].([]any)[0].(map[string]any); got["text"] != "hi" || got["quoted_id"] != "Q" || got["count"] != 1.0 {
		t.Errorf("bob got %v", got)
	}
	status, out := a.call("POST", "/v1/contacts/491700000001/send", `{"to":"4999999999","text":"nobody"}`)
	if status != http.StatusBadGateway || !strings.Contains(string(out), "check that the recipient exists") {
		t.Errorf("to nobody: %d %s", status, out)
	}
	a.ok("POST", "/v1/phones/491700000001/faults", `{"ack_error":{"code":463,"n":1}}`)
	status, out = a.call("POST", "/v1/contacts/491700000001/send", `{"to":"491700000002","text":"refused"}`)
	if status != http.StatusUnprocessableEntity || !strings.Contains(string(out), "463") {
		t.Errorf("refused: %d %s", status, out)
	}
	a.ok("DELETE", "/v1/ledger", "")
	if got := a.ok("GET", "/v1/ledger", ""); len(got["sent"].([]any)) != 0 {
		t.Errorf("cleared ledger %v", got)
	}
}

func (a *api) await(what string, condition func() bool) {
	a.t.Helper()
	deadline := time.NewTimer(60 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline.C:
			a.t.Fatalf("waited in vain: %s", what)
		}
	}
}

func TestFaultsAreShownMergedAndCleared(t *testing.T) {
	a := serve(t)
	a.ok("POST", "/v1/phones", `{"phone":"491700000001"}`)
	a.ok("POST", "/v1/phones/491700000001/faults", `{"hold_ack":true}`)
	both := a.ok("POST", "/v1/phones/491700000001/faults", `{"corrupt":2}`)
	if both["hold_ack"] != true || both["corrupt"] != 2.0 {
		t.Errorf("faults %v", both)
	}
	if shown := a.ok("GET", "/v1/phones/491700000001", ""); shown["faults"] == nil {
		t.Errorf("phone %v", shown)
	}
	a.ok("DELETE", "/v1/phones/491700000001/faults", "")
	if shown := a.ok("GET", "/v1/phones/491700000001", ""); shown["faults"] != nil {
		t.Errorf("phone %v", shown)
	}
}

func TestHealthMetricsAndStats(t *testing.T) {
	a := serve(t)
	if got := a.ok("GET", "/healthz", ""); got["status"] != "ok" {
		t.Errorf("health %v", got)
	}
	a.ok("POST", "/v1/contacts", `{"phone":"491700000001"}`)
	status, out := a.call("GET", "/metrics", "")
	for _, want := range []string{"wharf_simulator_devices_online 1", "wharf_simulator_paired_total 1", `wharf_simulator_queries_total{kind="encrypt set registration"} 1`} {
		if status != http.StatusOK || !strings.Contains(string(out), want) {
			t.Errorf("metrics lack %q", want)
		}
	}
	if st := a.ok("GET", "/v1/stats", ""); st["online"] != 1.0 || st["contacts"] != 1.0 || st["unknown_count"] != 0.0 {
		t.Errorf("stats %v", st)
	}
	info := a.ok("GET", "/v1/info", "")
	if len(info["root_public_key"].(string)) != 64 || !strings.Contains(info["tls_ca_pem"].(string), "BEGIN CERTIFICATE") {
		t.Errorf("info %v", info)
	}
}
