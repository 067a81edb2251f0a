package server

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	waBinary "go.mau.fi/whatsmeow/binary"

	"wharf/connectors/internal/sim/database"
)

const (
	mediaPath   = "/v/t62/"
	mediaBucket = "media"
	maxMedia    = 100 << 20
)

// mediaStore keeps uploaded ciphertexts by the token they were uploaded under.
type mediaStore struct {
	db    *database.Database
	mu    sync.Mutex
	blobs map[string][]byte
}

// loadMedia brings back what an earlier process kept.
func loadMedia(db *database.Database) (*mediaStore, error) {
	m := &mediaStore{db: db, blobs: map[string][]byte{}}
	return m, db.Each(mediaBucket, func(token string, blob []byte) error { m.blobs[token] = blob; return nil })
}

func (m *mediaStore) put(token string, blob []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blobs[token] = blob
	m.db.Put(mediaBucket, token, blob)
}

func (m *mediaStore) get(token string) ([]byte, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	blob, ok := m.blobs[token]
	return blob, ok
}

func (m *mediaStore) remove(token string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.blobs, token)
	m.db.Delete(mediaBucket, token)
}

func (c *conn) onMediaConn(q *query) {
	q.answer(waBinary.Node{Tag: "media_conn", Attrs: waBinary.Attrs{"auth": "sim", "ttl": "86400", "auth_ttl": "86400", "max_buckets": "12"},
		Content: []waBinary.Node{{Tag: "host", Attrs: waBinary.Attrs{"hostname": c.srv.MediaHost}}}})
}

func (s *Server) upload(w http.ResponseWriter, r *http.Request) {
	token := r.PathValue("token")
	if _, err := base64.URLEncoding.DecodeString(token); err != nil || token == "" {
		http.Error(w, "token is not base64url", http.StatusBadRequest)
		return
	}
	blob, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMedia))
	if err != nil {
		http.Error(w, "media too large or cut off", http.StatusRequestEntityTooLarge)
		return
	}
	s.media.put(token, blob)
	path := mediaPath + url.PathEscape(token) + "?ccb=1" // clients insist on the question mark
	w.Header().Set("Content-Type", "application/json")
	if err = json.NewEncoder(w).Encode(map[string]string{"url": "https://" + s.MediaHost + path, "direct_path": path}); err != nil {
		s.Log.Debug("media answer not written", "error", err)
	}
}

func (s *Server) download(w http.ResponseWriter, r *http.Request) {
	if status := s.mediaFault(); status != 0 {
		http.Error(w, http.StatusText(status), status)
		return
	}
	blob, ok := s.media.get(strings.TrimSpace(r.PathValue("token")))
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if _, err := w.Write(blob); err != nil {
		s.Log.Debug("media not written", "error", err)
	}
}

func (s *Server) discard(w http.ResponseWriter, r *http.Request) {
	s.media.remove(r.PathValue("token"))
	w.WriteHeader(http.StatusNoContent)
}

// mediaFault is the status set for any phone: a download does not tell who asks.
func (s *Server) mediaFault() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if f.MediaStatus != 0 {
			return f.MediaStatus
		}
	}
	return 0
}
