package control

import (
	"net/http"

	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/types"

	"wharf/connectors/internal/sim/contacts"
)

// change is a message about another message; which fields count depends on what is done.
type change struct {
	To      string `json:"to"`
	ID      string `json:"id"` // of the message it is about
	Text    string `json:"text"`
	Emoji   string `json:"emoji"`
	Own     bool   `json:"own"`
	ByAdmin bool   `json:"by_admin"`
}

func (p Parts) edit(r *http.Request) (any, error) {
	return p.changeMessage(r, func(c *contacts.Contact, to types.JID, in change) (*waE2E.Message, error) {
		return c.Edit(to, in.ID, in.Text)
	})
}

func (p Parts) revoke(r *http.Request) (any, error) {
	return p.changeMessage(r, func(c *contacts.Contact, to types.JID, in change) (*waE2E.Message, error) {
		return c.Revoke(to, in.ID, in.ByAdmin)
	})
}

func (p Parts) react(r *http.Request) (any, error) {
	return p.changeMessage(r, func(c *contacts.Contact, to types.JID, in change) (*waE2E.Message, error) {
		return c.React(to, in.ID, in.Emoji, in.Own)
	})
}

func (p Parts) changeMessage(r *http.Request, build func(*contacts.Contact, types.JID, change) (*waE2E.Message, error)) (any, error) {
	var in change
	if err := body(r, &in); err != nil {
		return nil, err
	}
	c, to, err := p.contactAnd(r, in.To)
	if err != nil {
		return nil, err
	}
	if in.ID == "" {
		return nil, invalid("id is missing: name the message that it is about")
	}
	message, err := build(c, to, in)
	if err != nil {
		return nil, sendProblem(in.ID, err)
	}
	return sendAs(r, c, to, "", message)
}

func (p Parts) timer(r *http.Request) (any, error) {
	var in struct {
		To      string `json:"to"`
		Seconds uint32 `json:"seconds"`
	}
	if err := body(r, &in); err != nil {
		return nil, err
	}
	c, to, err := p.contactAnd(r, in.To)
	if err != nil {
		return nil, err
	}
	return sendAs(r, c, to, "", c.SetTimer(in.Seconds))
}

func (p Parts) presence(r *http.Request) (any, error) {
	var in struct {
		Available bool `json:"available"`
	}
	if err := body(r, &in); err != nil {
		return nil, err
	}
	c, err := p.Contacts.Get(r.PathValue("phone"))
	if err != nil {
		return nil, err
	}
	return map[string]bool{"available": in.Available}, c.Appear(r.Context(), in.Available)
}

func (p Parts) follow(r *http.Request) (any, error) {
	var in struct {
		Who string `json:"who"`
	}
	if err := body(r, &in); err != nil {
		return nil, err
	}
	c, who, err := p.contactAnd(r, in.Who)
	if err != nil {
		return nil, err
	}
	return map[string]string{"following": who.String()}, c.Follow(r.Context(), who)
}

func (p Parts) seen(r *http.Request) (any, error) {
	c, err := p.Contacts.Get(r.PathValue("phone"))
	if err != nil {
		return nil, err
	}
	return c.Seen(), nil
}
