package wire

import (
	"fmt"

	waBinary "go.mau.fi/whatsmeow/binary"

	"wharf/connectors/internal/stanza"
)

// maxNodes bounds list elements in one stanza; 812 prekeys are about 3,300.
const maxNodes = 100_000

// ErrNode is wrapped by every refusal of a frame's content.
var ErrNode = stanza.ErrMalformed

// Encode turns a stanza into a frame's payload.
func Encode(node waBinary.Node) (payload []byte, err error) {
	// The encoder panics on a value that has no encoding; relayed stanzas carry values of other people.
	defer func() {
		if cause := recover(); cause != nil {
			payload, err = nil, fmt.Errorf("%w: %v", ErrNode, cause)
		}
	}()
	return waBinary.Marshal(node)
}

// Decode turns a frame's payload into a stanza. Clients are not trusted: the shape is checked first.
func Decode(payload []byte) (*waBinary.Node, error) {
	data, err := stanza.Open(payload, stanza.Limits{Bytes: MaxFrame, Nodes: maxNodes})
	if err != nil {
		return nil, err
	}
	node, err := waBinary.Unmarshal(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNode, err)
	}
	return node, nil
}
