package scheduler

// weighImageProps: hosts that know the image's properties as capabilities of the same value; off unless configured, as in Nova.
var weighImageProps = weigher{name: "image_props", multiplier: 0, kind: func(r *Request) func(*Host) int {
	if len(r.ImageProps) == 0 {
		return nil
	}
	return func(h *Host) (n int) {
		for k, v := range r.ImageProps {
			if have, ok := h.Capabilities[k]; ok && have == v {
				n++
			}
		}
		return n
	}
}}
