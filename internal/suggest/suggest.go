// Package suggest finds the word that a mistyped one was meant to be.
package suggest

import "github.com/texttheater/golang-levenshtein/levenshtein"

// Nearest returns the word of known that given most likely stands for, or "" if
// none is near: no more than two edits away, and no more than a third of the
// word (one edit for a short one). Of two that are as near, the first counts.
func Nearest(given string, known []string) string {
	best, least := "", 3
	options := levenshtein.DefaultOptionsWithSub
	for _, word := range known {
		d := levenshtein.DistanceForStrings([]rune(given), []rune(word), options)
		if d < least && d <= max(1, (len(word)+1)/3) {
			best, least = word, d
		}
	}
	return best
}

// DidYouMean returns "; did you mean WORD?" for the word that is near, and ""
// if none is. prefix goes before the word, such as "--".
func DidYouMean(given string, known []string, prefix string) string {
	if word := Nearest(given, known); word != "" {
		return "; did you mean " + prefix + word + "?"
	}
	return ""
}
