package compute

// HostStatus is how a server's host is, in the words of a server's host_status (Nova, 2.16): DOWN only when an admin said so, MAINTENANCE when it is disabled, UNKNOWN
// when it gives no sign of life. "" for a host that is not there.
func (h *Hosts) HostStatus(name string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, ok := h.rows[name]
	switch {
	case !ok:
		return ""
	case r.ForcedDown:
		return "DOWN"
	case r.Disabled:
		return "MAINTENANCE"
	}
	if up, _ := h.life(r); up {
		return "UP"
	}
	return "UNKNOWN"
}
