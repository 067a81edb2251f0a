package server

import (
	waBinary "go.mau.fi/whatsmeow/binary"
)

// stanzaHandlers is the table of what a logged-in client may send besides queries.
var stanzaHandlers = map[string]func(*conn, *waBinary.Node){
	"message":   (*conn).onMessage,
	"receipt":   (*conn).onReceipt,
	"ack":       (*conn).onAck,
	"presence":  (*conn).onPresence,
	"chatstate": (*conn).onChatState,
	"ib":        (*conn).onInfo,
	"call":      (*conn).onCall,
}

func (c *conn) handle(node *waBinary.Node) {
	if node.Tag == "iq" {
		c.onQuery(node)
		return
	}
	handler := stanzaHandlers[node.Tag]
	if handler == nil || c.loggedIn() == nil {
		c.srv.unknown(node)
		return
	}
	handler(c, node)
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
