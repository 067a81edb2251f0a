package server

import (
	waBinary "go.mau.fi/whatsmeow/binary"
	"time"

	"wharf/connectors/internal/sim/accounts"
	"wharf/connectors/internal/sim/wire"
)

// Presence and typing are for whoever is there: they are relayed to connected devices and never queued.

func (c *conn) onPresence(node *waBinary.Node) {
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	me := c.device.Account
	switch text(node, "type") {
	case "subscribe":
		s.subscribe(c, s.Accounts.Find(jid(node, "to")))
		return
	case "unsubscribe":
		if a := s.Accounts.Find(jid(node, "to")); a != nil {
			delete(s.subscribers[a.Phone], c.device)
		}
		return
	case "available":
		c.available = true
	case "unavailable":
		c.available = false
	}
	if name := text(node, "name"); name != "" && name != me.Name {
		me.Name = name
		s.Accounts.Save(me)
	}
	s.announcePresence(me)
}

func (s *Server) subscribe(c *conn, a *accounts.Account) {
	if a == nil {
		return
	}
	if s.subscribers[a.Phone] == nil {
		s.subscribers[a.Phone] = map[*accounts.Device]bool{}
	}
	s.subscribers[a.Phone][c.device] = true
	c.send(s.presenceNode(a))
}

func (s *Server) announcePresence(a *accounts.Account) {
	node := s.presenceNode(a)
	for dev := range s.subscribers[a.Phone] {
		if c := s.online[dev]; c != nil {
			c.send(node)
		}
	}
}

func (s *Server) presenceNode(a *accounts.Account) waBinary.Node {
	attrs := waBinary.Attrs{"from": a.Hidden(), "type": "unavailable", "last": "deny"}
	for _, dev := range a.Devices {
		if c := s.online[dev]; c != nil && c.available {
			attrs = waBinary.Attrs{"from": a.Hidden(), "type": "available"}
		}
	}
	return waBinary.Node{Tag: "presence", Attrs: attrs}
}

func (c *conn) onChatState(node *waBinary.Node) {
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.Accounts.Find(jid(node, "to"))
	if a == nil || a == c.device.Account {
		return
	}
	payload, err := wire.Encode(waBinary.Node{Tag: "chatstate", Attrs: waBinary.Attrs{"from": c.device.Account.Hidden()}, Content: node.Content})
	if err != nil {
		s.Log.Warn("chat state cannot be passed on", "from", c.device.Account.Phone, "error", err)
		return
	}
	for _, dev := range a.Devices {
		if target := s.online[dev]; target != nil {
			target.out.put(payload)
		}
	}
}

// onLogout unlinks the device that asks.
func (c *conn) onLogout(q *query) {
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.current() == nil {
		q.refuse("401", "not-authorized")
		return
	}
	q.answer()
	dev := c.device
	s.Accounts.RemoveDevice(dev)
	s.leave(c)
	c.ended = true
	s.stats.unlinked++
	s.tellDevices(dev.Account)
	time.AfterFunc(errorGrace, c.hangUp)
}

// conflict is the stream error that ends a session in favour of another, or for good.
func conflict(code, kind string) waBinary.Node {
	return waBinary.Node{Tag: "stream:error", Attrs: waBinary.Attrs{"code": code}, Content: []waBinary.Node{
		{Tag: "conflict", Attrs: waBinary.Attrs{"type": kind}},
	}}
}
