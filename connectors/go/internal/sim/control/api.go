// Package control is the simulator's HTTP interface for people and tests; docs/simulator.md describes it.
//
// Its rule: an answer is JSON; an error is {code, message}, and the message tells what to do next. Bodies with unknown
// fields are refused, since a misspelt fault would otherwise make a test pass for nothing.
package control

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"wharf/connectors/internal/sim/contacts"
	"wharf/connectors/internal/sim/server"
)

const maxBody = 4 << 20

// problem is an error with its status and code.
type problem struct {
	status  int
	code    string
	message string
}

func (p *problem) Error() string { return p.message }

func invalid(message string) error { return &problem{http.StatusBadRequest, "sim.invalid", message} }

// known maps what the parts of the simulator return to what callers see.
var known = []struct {
	err    error
	status int
	code   string
}{
	{server.ErrUnknownPhone, http.StatusNotFound, "sim.unknown_phone"},
	{server.ErrUnknownDevice, http.StatusNotFound, "sim.unknown_device"},
	{contacts.ErrUnknown, http.StatusNotFound, "sim.unknown_contact"},
	{server.ErrQRText, http.StatusBadRequest, "sim.invalid"},
	{server.ErrQRUnknown, http.StatusNotFound, "sim.unknown_qr"},
	{server.ErrNoLink, http.StatusNotFound, "sim.no_code_requested"},
	{server.ErrWrongCode, http.StatusUnprocessableEntity, "sim.wrong_code"},
	{server.ErrPairingBusy, http.StatusConflict, "sim.pairing_busy"},
	{server.ErrPairingRefused, http.StatusUnprocessableEntity, "sim.pairing_refused"},
	{server.ErrPairingSilent, http.StatusGatewayTimeout, "sim.pairing_timeout"},
	{server.ErrPairingGone, http.StatusUnprocessableEntity, "sim.pairing_gone"},
}

func asProblem(err error) *problem {
	var p *problem
	if errors.As(err, &p) {
		return p
	}
	for _, k := range known {
		if errors.Is(err, k.err) {
			return &problem{k.status, k.code, err.Error()}
		}
	}
	return &problem{http.StatusInternalServerError, "sim.internal", err.Error() + "; the simulator's log tells more"}
}

// handler answers a request with a value for JSON, or an error.
type handler func(r *http.Request) (any, error)

func serve(log *slog.Logger, h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		value, err := h(r)
		status := http.StatusOK
		if err != nil {
			p := asProblem(err)
			status, value = p.status, map[string]string{"code": p.code, "message": p.message}
			log.Info("request refused", "method", r.Method, "path", r.URL.Path, "code", p.code, "message", p.message)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if err = json.NewEncoder(w).Encode(value); err != nil {
			log.Debug("answer not written", "path", r.URL.Path, "error", err)
		}
	}
}

// body reads a JSON body into a value; an empty body leaves it as it is.
func body(r *http.Request, into any) error {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return invalid("the body does not fit: " + strings.TrimPrefix(err.Error(), "json: ") + "; docs/simulator.md lists the fields")
	}
	if decoder.More() {
		return invalid("the body holds more than one JSON value; send one")
	}
	return nil
}
