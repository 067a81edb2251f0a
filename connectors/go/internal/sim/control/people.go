package control

import (
	"errors"
	"fmt"
	"net/http"

	"go.mau.fi/whatsmeow"

	"wharf/connectors/internal/sim/contacts"
)

const maxFlood = 1_000_000

func (p Parts) listContacts(*http.Request) (any, error) {
	out := []contacts.View{}
	for _, c := range p.Contacts.List() {
		out = append(out, c.View())
	}
	return out, nil
}

func (p Parts) createContact(r *http.Request) (any, error) {
	var in struct {
		Phone     string `json:"phone"`
		Name      string `json:"name"`
		AutoReply bool   `json:"auto_reply"`
	}
	if err := body(r, &in); err != nil {
		return nil, err
	}
	if err := validPhone(in.Phone); err != nil {
		return nil, err
	}
	c, err := p.Contacts.Create(r.Context(), in.Phone, in.Name, in.AutoReply)
	if err != nil {
		return nil, &problem{http.StatusBadGateway, "sim.contact_offline", err.Error() + "; faults set for this phone act on contacts too"}
	}
	phone, err := p.Server.Phone(in.Phone)
	return map[string]any{"phone": phone.Phone, "pn": phone.PN, "lid": phone.LID, "contact": c.View()}, err
}

func (p Parts) showContact(r *http.Request) (any, error) {
	c, err := p.Contacts.Get(r.PathValue("phone"))
	if err != nil {
		return nil, err
	}
	return c.View(), nil
}

func (p Parts) send(r *http.Request) (any, error) {
	var in struct {
		To       string          `json:"to"`
		Text     string          `json:"text"`
		ID       string          `json:"id"`
		Quote    *contacts.Quote `json:"quote"`
		Mentions []string        `json:"mentions"`
	}
	if err := body(r, &in); err != nil {
		return nil, err
	}
	c, err := p.Contacts.Get(r.PathValue("phone"))
	if err != nil {
		return nil, err
	}
	to, err := contacts.Address(in.To)
	if err != nil || to.User == "" {
		return nil, invalid(fmt.Sprintf("to %q is neither a phone number nor an address", in.To))
	}
	message, err := contacts.Text(in.Text, in.Quote, in.Mentions)
	if err != nil {
		return nil, invalid("quote.sender and mentions take phone numbers or addresses: " + err.Error())
	}
	if in.ID == "" {
		in.ID = c.NewID()
	}
	if err = c.Send(r.Context(), to, in.ID, message); err != nil {
		return nil, sendProblem(in.ID, err)
	}
	return map[string]string{"id": in.ID}, nil
}

func sendProblem(id string, err error) error {
	switch {
	case errors.Is(err, contacts.ErrRefused):
		return &problem{http.StatusUnprocessableEntity, "sim.refused", fmt.Sprintf("message %s: %v; a fault ack_error does this", id, err)}
	case errors.Is(err, whatsmeow.ErrMessageTimedOut):
		return &problem{http.StatusGatewayTimeout, "sim.no_ack", fmt.Sprintf("message %s got no ack; the ledger tells whether it was accepted", id)}
	default:
		return &problem{http.StatusBadGateway, "sim.not_sent", fmt.Sprintf("message %s: %v; check that the recipient exists (GET /v1/phones) and the contact is online", id, err)}
	}
}

func (p Parts) flood(r *http.Request) (any, error) {
	var in struct {
		To     string  `json:"to"`
		Count  int     `json:"count"`
		Prefix string  `json:"prefix"`
		PerSec float64 `json:"rate_per_s"`
		Wait   bool    `json:"wait"`
	}
	if err := body(r, &in); err != nil {
		return nil, err
	}
	c, err := p.Contacts.Get(r.PathValue("phone"))
	if err != nil {
		return nil, err
	}
	to, err := contacts.Address(in.To)
	if err != nil || to.User == "" {
		return nil, invalid(fmt.Sprintf("to %q is neither a phone number nor an address", in.To))
	}
	if in.Count < 1 || in.Count > maxFlood || in.PerSec < 0 {
		return nil, invalid(fmt.Sprintf("count must be 1 to %d and rate_per_s must not be negative", maxFlood))
	}
	if in.Prefix == "" {
		return nil, invalid("prefix is missing: ids are the prefix and a six-digit number")
	}
	f := contacts.Flood{To: to, Count: in.Count, Prefix: in.Prefix, PerSec: in.PerSec}
	if in.Wait {
		return map[string]any{"ids": f.IDs(), "failed": c.Flood(r.Context(), f)}, nil
	}
	c.StartFlood(f)
	return map[string]any{"ids": f.IDs()}, nil
}
