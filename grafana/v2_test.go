package grafana

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// dashboards-v2.json has each panel of dashboards.json once, with its queries, in its row. Grafana's own types
// check its form, in test/dashboards.
func TestV2HasEveryPanel(t *testing.T) {
	made, err := wholeV2()
	require.NoError(t, err)
	text, err := json.Marshal(made)
	require.NoError(t, err)
	var got struct {
		Spec struct {
			Elements map[string]struct {
				Spec struct {
					Title string
					Data  struct{ Spec struct{ Queries []any } }
				}
			}
			Layout struct {
				Spec struct {
					Rows []struct {
						Spec struct {
							Layout struct {
								Spec struct {
									Items []struct {
										Spec struct {
											X, Y, Width int
											Element     struct{ Name string }
										}
									}
								}
							}
						}
					}
				}
			}
		}
	}
	require.NoError(t, json.Unmarshal(text, &got))
	classic := Whole()
	panels := AllPanels(classic)
	require.Len(t, got.Spec.Elements, len(panels))
	rows := 0
	for _, p := range classic.Panels {
		if p.RowPanel != nil {
			rows++
		}
	}
	require.Len(t, got.Spec.Layout.Spec.Rows, rows)
	i := 0
	for _, r := range got.Spec.Layout.Spec.Rows {
		for j, item := range r.Spec.Layout.Spec.Items {
			x := item.Spec
			e, ok := got.Spec.Elements[x.Element.Name]
			require.True(t, ok, x.Element.Name)
			if panels[i].Title != nil {
				require.Equal(t, *panels[i].Title, e.Spec.Title)
			}
			require.Len(t, e.Spec.Data.Spec.Queries, len(panels[i].Targets), e.Spec.Title)
			require.LessOrEqual(t, x.X+x.Width, 24)
			if j == 0 {
				require.Zero(t, x.Y, e.Spec.Title)
			}
			i++
		}
	}
	require.Equal(t, len(panels), i)
}
