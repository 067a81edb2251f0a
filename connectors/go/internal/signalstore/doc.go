// Package signalstore is an in-memory store for whatsmeow whose every change is journaled, with the ratchet lock.
package signalstore

import _ "go.mau.fi/whatsmeow"
import _ "github.com/coder/websocket"
