package client

import (
	"errors"
	"fmt"
)

// ExitError ends the process with a code when everything has been said already.
type ExitError struct{ Code int }

func (e ExitError) Error() string { return fmt.Sprintf("exit code %d", e.Code) }

// usage is a mistake in what was typed.
type usage struct{ msg string }

func (u usage) Error() string { return u.msg }

func usagef(format string, a ...any) error { return usage{fmt.Sprintf(format, a...)} }

// IsUsage is true for mistakes in what was typed, as against what a cloud refused.
func IsUsage(err error) bool {
	var u usage
	return errors.As(err, &u)
}

// Explain is err as a sentence for a person.
func Explain(err error) string { return err.Error() }

// Flags are what all client verbs take.
type Flags struct{}
