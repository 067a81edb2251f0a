package control

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/types"

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
		contacts.Around
		To   string `json:"to"`
		Text string `json:"text"`
		ID   string `json:"id"`
	}
	if err := body(r, &in); err != nil {
		return nil, err
	}
	c, to, err := p.contactAnd(r, in.To)
	if err != nil {
		return nil, err
	}
	message, err := contacts.Text(in.Text, in.Around)
	if err != nil {
		return nil, invalid("quote.sender and mentions take phone numbers or addresses: " + err.Error())
	}
	return sendAs(r, c, to, in.ID, message)
}

// sendAs sends a message under an id, or one of the contact's making.
func sendAs(r *http.Request, c *contacts.Contact, to types.JID, id string, message *waE2E.Message) (any, error) {
	if id == "" {
		id = c.NewID()
	}
	if err := c.Send(r.Context(), to, id, message); err != nil {
		return nil, sendProblem(id, err)
	}
	return map[string]string{"id": id}, nil
}

func (p Parts) read(r *http.Request) (any, error) {
	var in struct {
		From string   `json:"from"`
		IDs  []string `json:"ids"`
	}
	if err := body(r, &in); err != nil {
		return nil, err
	}
	c, from, err := p.contactAnd(r, in.From)
	if err != nil {
		return nil, err
	}
	if len(in.IDs) == 0 {
		return nil, invalid("ids is missing: name the messages that were read")
	}
	return map[string]int{"read": len(in.IDs)}, c.Read(r.Context(), from, in.IDs)
}

func (p Parts) typing(r *http.Request) (any, error) {
	var in struct {
		To        string `json:"to"`
		Typing    bool   `json:"typing"`
		Recording bool   `json:"recording"`
	}
	if err := body(r, &in); err != nil {
		return nil, err
	}
	c, to, err := p.contactAnd(r, in.To)
	if err != nil {
		return nil, err
	}
	return map[string]bool{"typing": in.Typing, "recording": in.Recording}, c.Type(r.Context(), to, in.Typing, in.Recording)
}

// contactAnd finds the contact of the path and reads the address of somebody else.
func (p Parts) contactAnd(r *http.Request, other string) (*contacts.Contact, types.JID, error) {
	c, err := p.Contacts.Get(r.PathValue("phone"))
	if err != nil {
		return nil, types.EmptyJID, err
	}
	jid, err := contacts.Address(other)
	if err != nil || jid.User == "" {
		return nil, types.EmptyJID, invalid(fmt.Sprintf("%q is neither a phone number nor an address", other))
	}
	return c, jid, nil
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
		After  int64   `json:"after_ms"`
		Wait   bool    `json:"wait"`
	}
	if err := body(r, &in); err != nil {
		return nil, err
	}
	c, to, err := p.contactAnd(r, in.To)
	if err != nil {
		return nil, err
	}
	if in.Count < 1 || in.Count > maxFlood || in.PerSec < 0 || in.After < 0 {
		return nil, invalid(fmt.Sprintf("count must be 1 to %d and rate_per_s and after_ms must not be negative", maxFlood))
	}
	if in.Prefix == "" {
		return nil, invalid("prefix is missing: ids are the prefix and a six-digit number")
	}
	f := contacts.Flood{To: to, Count: in.Count, Prefix: in.Prefix, PerSec: in.PerSec, After: time.Duration(in.After) * time.Millisecond}
	if in.Wait {
		return map[string]any{"ids": f.IDs(), "failed": c.Flood(r.Context(), f)}, nil
	}
	c.StartFlood(f)
	return map[string]any{"ids": f.IDs()}, nil
}
