package server

import (
	waBinary "go.mau.fi/whatsmeow/binary"

	"wharf/connectors/internal/sim/accounts"
)

// confirming are the receipt types by which a client says that it has a message.
var confirming = map[string]bool{"": true, "inactive": true, "sender": true, "peer_msg": true}

// onReceipt acknowledges a receipt, takes what it confirms out of the queue, and passes it on to whom it concerns.
func (c *conn) onReceipt(node *waBinary.Node) {
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	me, kind, to := c.device, text(node, "type"), jid(node, "to")
	s.stats.receipt(kind)
	c.send(waBinary.Node{Tag: "ack", Attrs: waBinary.Attrs{"class": "receipt", "id": text(node, "id"), "from": to, "type": kind, "t": stamp(s.Now())}})
	a := s.Accounts.Find(to)
	if a == nil {
		return
	}
	if confirming[kind] {
		for _, id := range receiptIDs(node) {
			s.confirm(c, accounts.StanzaKey{Class: "message", ID: id, From: a.LID})
		}
	}
	if s.faultsOf(a.Phone).DropReceipts {
		s.stats.droppedReceipts++
		return
	}
	attrs := waBinary.Attrs{"from": me.Hidden(), "id": text(node, "id"), "t": stamp(s.Now()), "type": kind}
	if recipient := jid(node, "recipient"); !recipient.IsEmpty() {
		attrs["recipient"] = recipient
	}
	for _, dev := range s.receiptTargets(me, a, kind, to.Device) {
		s.push(dev, accounts.StanzaKey{Class: "receipt", ID: text(node, "id"), From: me.Account.LID, Type: kind},
			waBinary.Node{Tag: "receipt", Attrs: attrs, Content: node.Content})
	}
}

// receiptTargets: a retry and what an own device confirms concern the device that sent; all others the whole account.
func (s *Server) receiptTargets(me *accounts.Device, a *accounts.Account, kind string, number uint16) []*accounts.Device {
	if kind == "retry" || a == me.Account {
		if dev := a.Devices[number]; dev != nil && dev != me {
			return []*accounts.Device{dev}
		}
		return nil
	}
	return a.Sorted()
}

func receiptIDs(node *waBinary.Node) []string {
	ids := []string{text(node, "id")}
	if list := child(node, "list"); list != nil {
		for _, item := range list.GetChildren() {
			ids = append(ids, text(&item, "id"))
		}
	}
	return ids
}

// onAck takes an acknowledged stanza out of the queue.
func (c *conn) onAck(node *waBinary.Node) {
	s := c.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	key := accounts.StanzaKey{Class: text(node, "class"), ID: text(node, "id"), From: jid(node, "to").User}
	switch key.Class {
	case "message":
		// whatsmeow and Baileys name a person by hidden id here; older clients by number.
		if a := s.Accounts.Find(jid(node, "to")); a != nil {
			key.From = a.LID
		}
		if text(node, "error") != "" {
			s.stats.refusedMessages++
		}
	case "receipt":
		key.Type = text(node, "type")
		if a := s.Accounts.Find(jid(node, "to")); a != nil {
			key.From = a.LID
		}
	}
	s.confirm(c, key)
}

func (s *Server) confirm(c *conn, key accounts.StanzaKey) {
	if e := c.device.Queue.Acknowledged(key, c.number); e != nil {
		s.Accounts.Dequeue(c.device, e)
	}
}

// askAgain sends the author a retry receipt in the recipient's name, as the fault `same_id_new_ciphertext`.
func (s *Server) askAgain(dev *accounts.Device, e *accounts.Entry) {
	author := s.Accounts.Phone(e.Sender)
	if author == nil || dev.Bundle == nil {
		return
	}
	s.stats.reencrypted++
	now := stamp(s.Now())
	for _, target := range author.Sorted() {
		s.push(target, accounts.StanzaKey{Class: "receipt", ID: e.Key.ID, From: dev.Account.LID, Type: "retry"}, waBinary.Node{
			Tag:   "receipt",
			Attrs: waBinary.Attrs{"from": dev.Hidden(), "id": e.Key.ID, "t": now, "type": "retry"},
			Content: []waBinary.Node{
				{Tag: "retry", Attrs: waBinary.Attrs{"count": "1", "id": e.Key.ID, "t": now, "v": "1"}},
				{Tag: "registration", Content: dev.Bundle.Registration},
			},
		})
	}
}
