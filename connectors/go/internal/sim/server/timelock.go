package server

import (
	"encoding/json"
	"strconv"
	"time"

	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/types"
)

// Timelock is the notice that an account may not begin new chats for a time. It tells only; what is refused is the fault
// ack_error.
type Timelock struct {
	Active bool   `json:"active"`
	Type   string `json:"type"`
	EndsS  int    `json:"ends_s"` // from now; 0: not told
}

// Timelock notifies the devices of a phone and returns how many there are.
func (s *Server) Timelock(phone string, t Timelock) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.Accounts.Phone(phone)
	if a == nil {
		return 0, ErrUnknownPhone
	}
	lock := map[string]any{"enforcement_type": t.Type, "is_active": t.Active}
	if t.EndsS > 0 {
		lock["time_enforcement_ends"] = strconv.FormatInt(s.Now().Add(time.Duration(t.EndsS)*time.Second).Unix(), 10)
	}
	content, err := json.Marshal(map[string]any{"data": map[string]any{"xwa2_notify_account_reachout_timelock": lock}})
	if err != nil {
		return 0, err
	}
	for _, dev := range a.Sorted() {
		s.notify(dev, "mex", waBinary.Attrs{"from": types.ServerJID}, waBinary.Node{
			Tag: "update", Attrs: waBinary.Attrs{"op_name": "NotificationUserReachoutTimelockUpdate"}, Content: content,
		})
	}
	return len(a.Devices), nil
}
