package identity

import "time"

// Passcode is the TOTP code of a seed at a time.
func Passcode(seed string, at time.Time) string {
	return passcode(seed, at.Unix()/int64(totpStep/time.Second))
}
