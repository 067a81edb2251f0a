package control

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"

	"wharf/connectors/internal/sim/accounts"
	"wharf/connectors/internal/sim/contacts"
	"wharf/connectors/internal/sim/ledger"
	"wharf/connectors/internal/sim/server"
)

// Parts are what the interface shows and changes.
type Parts struct {
	Server   *server.Server
	Contacts *contacts.Pool
	Ledger   *ledger.Ledger
	Info     any          // answer of /v1/info
	Healthy  func() error // nil when the simulator can keep what it accepts
	Metrics  http.Handler
	Log      *slog.Logger
}

// Handler serves the control interface.
func Handler(p Parts) http.Handler {
	mux := http.NewServeMux()
	routes := map[string]handler{
		"GET /v1/info":                       func(*http.Request) (any, error) { return p.Info, nil },
		"GET /v1/stats":                      p.stats,
		"GET /v1/phones":                     func(*http.Request) (any, error) { return p.Server.Phones(), nil },
		"POST /v1/phones":                    p.createPhone,
		"GET /v1/phones/{phone}":             func(r *http.Request) (any, error) { return p.Server.Phone(r.PathValue("phone")) },
		"POST /v1/phones/{phone}/scan":       p.scan,
		"POST /v1/phones/{phone}/code":       p.enterCode,
		"POST /v1/phones/{phone}/kick":       p.kick,
		"POST /v1/phones/{phone}/fail":       p.fail,
		"POST /v1/phones/{phone}/timelock":   p.timelock,
		"POST /v1/phones/{phone}/faults":     p.setFaults,
		"DELETE /v1/phones/{phone}/faults":   p.clearFaults,
		"GET /v1/contacts":                   p.listContacts,
		"POST /v1/contacts":                  p.createContact,
		"GET /v1/contacts/{phone}":           p.showContact,
		"POST /v1/contacts/{phone}/send":     p.send,
		"POST /v1/contacts/{phone}/flood":    p.flood,
		"POST /v1/contacts/{phone}/read":     p.read,
		"POST /v1/contacts/{phone}/typing":   p.typing,
		"POST /v1/contacts/{phone}/edit":     p.edit,
		"POST /v1/contacts/{phone}/revoke":   p.revoke,
		"POST /v1/contacts/{phone}/react":    p.react,
		"POST /v1/contacts/{phone}/timer":    p.timer,
		"POST /v1/contacts/{phone}/presence": p.presence,
		"POST /v1/contacts/{phone}/follow":   p.follow,
		"GET /v1/contacts/{phone}/seen":      p.seen,
		"GET /v1/ledger":                     p.readLedger,
		"DELETE /v1/ledger":                  p.clearLedger,
	}
	for pattern, h := range routes {
		mux.HandleFunc(pattern, serve(p.Log, h))
	}
	mux.HandleFunc("GET /healthz", p.health)
	mux.Handle("GET /metrics", p.Metrics)
	mux.HandleFunc("/", serve(p.Log, func(r *http.Request) (any, error) {
		return nil, &problem{http.StatusNotFound, "sim.no_route", r.Method + " " + r.URL.Path + " does not exist; docs/simulator.md lists what does"}
	}))
	return mux
}

func (p Parts) health(w http.ResponseWriter, r *http.Request) {
	err := p.Healthy()
	serve(p.Log, func(*http.Request) (any, error) {
		if err != nil {
			return nil, &problem{http.StatusServiceUnavailable, "sim.unhealthy", err.Error() + "; restart the simulator"}
		}
		return map[string]any{"status": "ok", "checks": map[string]string{"database": "ok"}}, nil
	})(w, r)
}

func (p Parts) stats(*http.Request) (any, error) {
	sent, received := p.Ledger.Counts()
	return struct {
		server.Stats
		LedgerSent     int `json:"ledger_sent"`
		LedgerReceived int `json:"ledger_received"`
		Contacts       int `json:"contacts"`
	}{p.Server.Stats(), sent, received, len(p.Contacts.List())}, nil
}

func validPhone(phone string) error {
	if !accounts.ValidPhone(phone) {
		return invalid(fmt.Sprintf("phone %q is not a number in international form (7 to 14 digits, no + and no leading zero)", phone))
	}
	return nil
}

func (p Parts) createPhone(r *http.Request) (any, error) {
	var in struct{ Phone, Name string }
	if err := body(r, &in); err != nil {
		return nil, err
	}
	if err := validPhone(in.Phone); err != nil {
		return nil, err
	}
	return p.Server.CreatePhone(in.Phone, in.Name), nil
}

func (p Parts) scan(r *http.Request) (any, error) {
	var in struct{ QR string }
	if err := body(r, &in); err != nil {
		return nil, err
	}
	phone := r.PathValue("phone")
	if err := validPhone(phone); err != nil {
		return nil, err
	}
	jid, err := p.Server.Scan(r.Context(), phone, in.QR)
	return map[string]string{"jid": jid.String()}, err
}

func (p Parts) enterCode(r *http.Request) (any, error) {
	var in struct{ Code string }
	if err := body(r, &in); err != nil {
		return nil, err
	}
	if in.Code == "" {
		return nil, invalid("code is missing: give the eight characters that the companion shows")
	}
	jid, err := p.Server.EnterCode(r.Context(), r.PathValue("phone"), in.Code)
	return map[string]string{"jid": jid.String()}, err
}

func (p Parts) kick(r *http.Request) (any, error) {
	var in server.Kick
	if err := body(r, &in); err != nil {
		return nil, err
	}
	if !in.Hard && !in.Freeze && !in.Remove && in.Code == "" && in.Conflict == "" {
		return nil, invalid("nothing to do: give code, conflict, remove, hard or freeze")
	}
	n, err := p.Server.Kick(r.PathValue("phone"), in)
	return map[string]int{"kicked": n}, err
}

var failReasons = []int{400, 401, 402, 403, 405, 406, 409, 500, 501, 503}

func (p Parts) fail(r *http.Request) (any, error) {
	in := server.Failure{Times: 1}
	if err := body(r, &in); err != nil {
		return nil, err
	}
	if !slices.Contains(failReasons, in.Reason) {
		return nil, invalid(fmt.Sprintf("reason %d is not one of %v", in.Reason, failReasons))
	}
	if in.Times < 1 {
		return nil, invalid("times must be 1 or more")
	}
	return map[string]int{"times": in.Times}, p.Server.FailLogins(r.PathValue("phone"), in)
}

func (p Parts) timelock(r *http.Request) (any, error) {
	in := server.Timelock{Active: true, Type: "RESTRICT_NEW_CHATS"}
	if err := body(r, &in); err != nil {
		return nil, err
	}
	if in.EndsS < 0 {
		return nil, invalid("ends_s must not be negative")
	}
	n, err := p.Server.Timelock(r.PathValue("phone"), in)
	return map[string]int{"told": n}, err
}

// setFaults changes the faults named in the body and leaves the others.
func (p Parts) setFaults(r *http.Request) (any, error) {
	return p.Server.SetFaults(r.PathValue("phone"), func(f *server.Faults) error {
		if err := body(r, f); err != nil {
			return err
		}
		if min(f.Duplicate, f.Corrupt, f.SameIDNewCiphertext, f.DelayMS, f.QueryLimit, f.LoseOffline) < 0 {
			return invalid("counters and delays must not be negative")
		}
		if f.AckError != nil && (f.AckError.Code < 400 || f.AckError.N < 1) {
			return invalid("ack_error needs a code of 400 or more and n of 1 or more")
		}
		if f.MediaStatus != 0 && (f.MediaStatus < 400 || f.MediaStatus > 599) {
			return invalid("media_status must be an HTTP error such as 403, 404 or 410, or 0")
		}
		return nil
	})
}

func (p Parts) clearFaults(r *http.Request) (any, error) {
	return p.Server.SetFaults(r.PathValue("phone"), func(f *server.Faults) error {
		*f = server.Faults{}
		return nil
	})
}

func (p Parts) readLedger(r *http.Request) (any, error) {
	query := r.URL.Query()
	filter := ledger.Filter{From: query.Get("from"), To: query.Get("to"), Dedupe: true}
	if text := query.Get("dedupe"); text != "" {
		var err error
		if filter.Dedupe, err = strconv.ParseBool(text); err != nil {
			return nil, invalid("dedupe must be true or false")
		}
	}
	return map[string]any{"sent": p.Ledger.Sent(filter), "received": p.Ledger.Received(filter)}, nil
}

func (p Parts) clearLedger(*http.Request) (any, error) {
	p.Ledger.Clear()
	return map[string]bool{"cleared": true}, nil
}
