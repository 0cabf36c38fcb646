//! The positions of panels: from left to right in the order of the code, in Grafana's 24 columns.

use crate::model::{GridPos, Panel};

const COLUMNS: u32 = 24;

/// Panels of one size, below a heading. An empty heading is not shown.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) heading: &'static str,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) panels: Vec<Panel>,
}

/// Gives every panel a position, and an id that stays the same until the order changes.
pub(crate) fn arrange(sections: Vec<Section>) -> Vec<Panel> {
    let mut placed: Vec<Panel> = Vec::new();
    let mut y = 0;
    for Section { heading, width, height, panels } in sections {
        if !heading.is_empty() {
            placed.push(Panel::row(heading).at(GridPos { x: 0, y, w: COLUMNS, h: 1 }));
            y += 1;
        }
        let mut x = 0;
        let mut row_has_panels = false;
        for panel in panels {
            if x + width > COLUMNS {
                (x, y) = (0, y + height);
            }
            placed.push(panel.at(GridPos { x, y, w: width, h: height }));
            x += width;
            row_has_panels = true;
        }
        y += if row_has_panels { height } else { 0 };
    }
    for (id, panel) in (1..).zip(&mut placed) {
        panel.id = id;
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(heading: &'static str, width: u32, height: u32, panels: usize) -> Section {
        Section {
            heading,
            width,
            height,
            panels: (0..panels).map(|_| Panel::stat("a", "b")).collect(),
        }
    }

    fn positions(sections: Vec<Section>) -> Vec<(u32, u32, u32)> {
        arrange(sections)
            .iter()
            .map(|panel| (panel.id, panel.grid_pos.x, panel.grid_pos.y))
            .collect()
    }

    #[test]
    fn panels_are_beside_each_other_until_the_row_is_full() {
        assert_eq!(
            positions(vec![section("", 8, 5, 4)]),
            [(1, 0, 0), (2, 8, 0), (3, 16, 0), (4, 0, 5)]
        );
    }

    #[test]
    fn a_heading_takes_one_line() {
        assert_eq!(
            positions(vec![section("one", 12, 5, 1), section("two", 12, 5, 1)]),
            [(1, 0, 0), (2, 0, 1), (3, 0, 6), (4, 0, 7)]
        );
    }
}
