// Package signalstore is a complete in-memory device store for whatsmeow.
//
// Rule: the store is a map from item name to bytes, and every change of it is handed to a Journal as (name, value |
// tombstone) while the store is locked, so replaying a journal gives the same store. Writes that change nothing are not
// journaled. No method fails for outside reasons: whatsmeow takes a store error while decrypting for a decryption
// failure. After Close every write fails with ErrClosed and nothing is journaled any more.
//
// Item names (names beginning with "c/" and "x/" belong to others and are ignored by New):
//
//	d             the device: keys, ids, account            ph            highest prekey id ever made
//	p/<block>     32 one-time prekeys                        i/<address>   identity of a peer's device
//	s/<address>   Signal session                             k/<g>/<addr>  sender key of a group member
//	ak/ av/ am/   app state keys, versions, mutation MACs    n/<jid>       names of a contact
//	cs/<jid>      chat settings                              m/<digest>    message secret
//	t/<jid>       privacy token                              nc            NCT salt
//	l/<lid>       phone number of a LID                      o/<chat>/<id> plaintext kept for retry receipts
//	et/<jid>      disappearing timer of a chat               pw/<jid>      contact whose presence is followed
//
// The ratchet lock. whatsmeow loads a Signal session, works on it and stores it with nothing between sending, receiving
// and retry handling; two of them at once lose messages. Here a decryption holds the lock during DoDecryptionTxn (set
// Client.EnableDecryptedEventBuffer), a send from GetManySessions to PutManySessions, everything else from GetSession to
// PutSession of that address. Sends must run in a scope, which also ends the hold when the send fails in between:
//
//	st, err := signalstore.New(nil, signalstore.Options{})    // no journal: a plain in-memory store
//	cli := whatsmeow.NewClient(st.Device(), log)
//	cli.EnableDecryptedEventBuffer = true                     // the store's lock; it buffers nothing
//	cli.SynchronousAck = true
//	cli.UseRetryMessageStore = true
//	ctx, done := st.SendScope(ctx)
//	defer done()
//	resp, err := cli.SendMessage(ctx, to, msg)
//
// st.Items() is a copy of the whole state; New(items, …) continues from it.
package signalstore
