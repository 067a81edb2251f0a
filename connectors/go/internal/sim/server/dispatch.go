package server

import (
	waBinary "go.mau.fi/whatsmeow/binary"

	"wharf/connectors/internal/sim/accounts"
)

// stanzaHandlers is the table of what a logged-in client may send besides queries.
var stanzaHandlers = map[string]func(*conn, *waBinary.Node){
	"message":   (*conn).onMessage,
	"receipt":   (*conn).onReceipt,
	"ack":       (*conn).onAck,
	"presence":  (*conn).onPresence,
	"chatstate": (*conn).onChatState,
	"call":      (*conn).onCall,
}

func (c *conn) handle(node *waBinary.Node) {
	handler := stanzaHandlers[node.Tag]
	switch dev, ended := c.standing(); {
	case ended: // its stream is over: what it says now was not heard, and it will say it again
	case node.Tag == "iq":
		c.onQuery(node)
	case node.Tag == "ib":
		c.onInfo(node)
	case handler == nil || dev == nil:
		c.srv.unknown(node)
	default:
		handler(c, node)
	}
}

// standing is the device of a connection that logged in, unless it was unlinked since, and whether its stream is over.
func (c *conn) standing() (dev *accounts.Device, ended bool) {
	c.srv.mu.Lock()
	defer c.srv.mu.Unlock()
	return c.current(), c.ended
}

func (c *conn) current() *accounts.Device {
	if c.device != nil && c.device.Account.Devices[c.device.Number] == c.device {
		return c.device
	}
	return nil
}

// onInfo takes notices of the client (unified_session, routing); nothing is due in return.
func (c *conn) onInfo(node *waBinary.Node) {
	for _, n := range node.GetChildren() {
		c.srv.count(func(st *stats) { st.query("ib " + n.Tag) })
	}
}

// onCall acknowledges; calls are not relayed.
func (c *conn) onCall(node *waBinary.Node) {
	c.send(waBinary.Node{Tag: "ack", Attrs: waBinary.Attrs{"class": "call", "id": text(node, "id"), "from": jid(node, "to")}})
}
