package sim

import "slices"

// shrink takes acts out of a failing plan while it fails by the same rule, in ever smaller pieces, and gives the shortest it found. fails plays a plan.
func shrink(p plan, rule string, fails func(plan) string) plan {
	for piece := max(len(p.Acts)/2, 1); ; {
		shorter := false
		for from := 0; from < len(p.Acts); {
			q := plan{Seed: p.Seed, Acts: slices.Delete(slices.Clone(p.Acts), from, min(from+piece, len(p.Acts)))}
			if fails(q) == rule {
				p, shorter = q, true
			} else {
				from += piece
			}
		}
		switch {
		case piece > 1:
			piece /= 2
		case !shorter:
			return p
		}
	}
}
