// Package wire is the server's side of WhatsApp's transport: Noise handshake, certificate chain, frames, binary nodes.
//
// Its rule: whatever bytes a peer sends, the answer is a value or an error. Nothing here panics, recurses without a
// bound, or allocates more than a small multiple of what was received.
package wire
