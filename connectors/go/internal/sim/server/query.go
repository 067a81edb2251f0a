package server

import (
	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/types"
)

// query is a client's iq that has to be answered.
type query struct {
	conn *conn
	node *waBinary.Node
}

type queryKey struct{ namespace, kind, child string }

// queryHandlers is the table of known queries. One with an empty child takes all children of its namespace and kind.
// Handlers take the server's lock themselves where they need it.
var queryHandlers map[queryKey]func(*conn, *query)

func init() { // in a function, since handlers refer to the table's own package-level code
	queryHandlers = map[queryKey]func(*conn, *query){
		{"md", "set", linkTag}:                   (*conn).onLinkCode,
		{"md", "set", "remove-companion-device"}: (*conn).onLogout,
		{"encrypt", "get", "count"}:              (*conn).onPreKeyCount,
		{"encrypt", "get", "key"}:                (*conn).onPreKeyFetch,
		{"encrypt", "get", "digest"}:             (*conn).onPreKeyDigest,
		{"encrypt", "set", "rotate"}:             (*conn).onPreKeyRotate,
		{"encrypt", "set", ""}:                   (*conn).onPreKeyUpload,
		{"usync", "get", "usync"}:                (*conn).onUserSync,
		{"w:m", "set", "media_conn"}:             (*conn).onMediaConn,
		{"w:m", "get", "media_conn"}:             (*conn).onMediaConn,
		{"privacy", "get", "privacy"}:            (*conn).onPrivacyGet,
		{"privacy", "set", "privacy"}:            (*conn).onPrivacySet,
		{"privacy", "set", "tokens"}:             (*conn).onPrivacyTokens,
		{"blocklist", "get", ""}:                 (*conn).onBlocklistGet,
		{"blocklist", "set", "item"}:             (*conn).onBlocklistSet,
		{"abt", "get", ""}:                       (*conn).onProps,
		{"w", "get", "props"}:                    (*conn).onProps,
		{"w:g2", "get", "participating"}:         (*conn).onGroups,
		{"w:profile:picture", "get", ""}:         (*conn).onPicture,
		{"w:sync:app:state", "set", "sync"}:      (*conn).onAppState,
		{"passive", "set", ""}:                   (*conn).onAccepted,
		{"w:p", "get", ""}:                       (*conn).onAccepted,
		{"urn:xmpp:ping", "get", ""}:             (*conn).onAccepted,
		{"urn:xmpp:whatsapp:dirty", "set", ""}:   (*conn).onAccepted,
		{"urn:xmpp:whatsapp:push", "set", ""}:    (*conn).onAccepted,
		{"w:stats", "set", ""}:                   (*conn).onAccepted,
		{"disappearing_mode", "set", ""}:         (*conn).onAccepted,
		{"status", "set", ""}:                    (*conn).onAccepted,
	}
}

func (c *conn) onQuery(node *waBinary.Node) {
	kind := text(node, "type")
	if kind == "result" || kind == "error" {
		c.onPairingAnswer(node)
		return
	}
	namespace, first := text(node, "xmlns"), ""
	if children := node.GetChildren(); len(children) > 0 {
		first = children[0].Tag
	}
	q := &query{c, node}
	handler := queryHandlers[queryKey{namespace, kind, first}]
	if handler == nil {
		handler = queryHandlers[queryKey{namespace, kind, ""}]
	}
	c.srv.count(func(st *stats) { st.query(namespace + " " + kind + " " + first) })
	if dev, _ := c.standing(); dev == nil && namespace != "md" && namespace != "w:p" {
		q.refuse("401", "not-authorized")
		return
	}
	if c.srv.rateLimited(c, namespace) {
		q.refuse("429", "rate-overlimit")
		return
	}
	if handler == nil {
		c.srv.unknown(node)
		q.answer()
		return
	}
	handler(c, q)
}

func (q *query) answer(children ...waBinary.Node) {
	n := waBinary.Node{Tag: "iq", Attrs: waBinary.Attrs{"from": q.to(), "id": text(q.node, "id"), "type": "result"}}
	if len(children) > 0 {
		n.Content = children
	}
	q.conn.send(n)
}

func (q *query) refuse(code, reason string) {
	q.conn.send(waBinary.Node{
		Tag:     "iq",
		Attrs:   waBinary.Attrs{"from": q.to(), "id": text(q.node, "id"), "type": "error"},
		Content: []waBinary.Node{{Tag: "error", Attrs: waBinary.Attrs{"code": code, "text": reason}}},
	})
}

func (q *query) to() types.JID {
	if to := jid(q.node, "to"); !to.IsEmpty() {
		return to
	}
	return types.ServerJID
}

// onAccepted serves requests whose only effect is that they are answered.
func (c *conn) onAccepted(q *query) { q.answer() }
