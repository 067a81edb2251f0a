package server

import (
	"strconv"
	"time"

	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/types"
)

// Attribute readers for nodes of others: a missing or odd value is the zero value, never a panic.

func text(n *waBinary.Node, name string) string {
	v, _ := n.Attrs[name].(string)
	return v
}

func jid(n *waBinary.Node, name string) types.JID {
	v, _ := n.Attrs[name].(types.JID)
	return v
}

func content(n *waBinary.Node) []byte {
	switch v := n.Content.(type) {
	case []byte:
		return v
	case string:
		return []byte(v)
	default:
		return nil
	}
}

func child(n *waBinary.Node, tag string) *waBinary.Node {
	if n == nil {
		return nil
	}
	for i, c := range n.GetChildren() {
		if c.Tag == tag {
			return &n.GetChildren()[i]
		}
	}
	return nil
}

func childContent(n *waBinary.Node, tag string) []byte {
	if c := child(n, tag); c != nil {
		return content(c)
	}
	return nil
}

func stamp(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }
