// Package suggest finds the known word that a mistyped word probably means.
package suggest

import "github.com/texttheater/golang-levenshtein/levenshtein"

// Nearest returns the word of known that is nearest to given, or "" if none is
// near: at most two edits away, and at most a third of the word (one edit for a
// short one). Of several with the same distance it returns the first.
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

// DidYouMean returns "; did you mean WORD?" with the word of Nearest, and "" if
// there is none. prefix is put before the word, such as "--".
func DidYouMean(given string, known []string, prefix string) string {
	if word := Nearest(given, known); word != "" {
		return "; did you mean " + prefix + word + "?"
	}
	return ""
}
