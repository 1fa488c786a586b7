//! What Mesos's `HierarchicalAllocator` needed for the same workloads, on two cores.
//!
//! Apache Mesos 1.11 at commit c1b42f79, gcc 12.2 -O2, the allocator's actor through its public interface, one
//! process per configuration. CPU time of the whole process in milliseconds, the median over the runs where
//! there were several. Values below about 5 ms are noisy (2 to 3 times).
//!
//! Steps with one name in several workloads are the same work: `no_op` is a cycle that has nothing to offer,
//! `decline` gives all offers back without a filter, `decline_filtered` with one, `cycle_after_filtered`
//! offers what was so refused to others. `reoffer`, `recover` and `churn` are the best of five, and
//! `reoffer_mean` and `churn_mean` their means.

/// Agents, frameworks, roles.
pub(crate) type Cell = (u32, u32, u32);

struct Table {
    steps: &'static [&'static str],
    /// Cell, CPU milliseconds of each step, peak memory in MiB.
    rows: &'static [(Cell, &'static [f64], f64)],
}

/// Nobody has measured it.
const UNMEASURED: f64 = f64::NAN;

/// CPU milliseconds that Mesos needed for a step; `None` if it was not measured.
pub(crate) fn mesos_cpu_ms(workload: &str, agents: u32, frameworks: u32, roles: u32, step: &str) -> Option<f64> {
    let table = table(workload)?;
    let at = table.steps.iter().position(|name| *name == step)?;
    let (_, figures, _) = table.rows.iter().find(|(cell, ..)| *cell == (agents, frameworks, roles))?;
    figures.get(at).copied().filter(|figure| !figure.is_nan())
}

/// MiB of memory that Mesos had at most in a whole run of the workload; `None` if it was not measured.
pub(crate) fn mesos_peak_rss_mib(workload: &str, agents: u32, frameworks: u32, roles: u32) -> Option<f64> {
    let rows = table(workload)?.rows;
    rows.iter().find(|(cell, ..)| *cell == (agents, frameworks, roles)).map(|(.., peak)| *peak)
}

/// The cells of a workload that Mesos was measured in, in the order of the tables; none for another workload.
pub(crate) fn cells(workload: &str) -> Vec<Cell> {
    table(workload).map(|table| table.rows.iter().map(|(cell, ..)| *cell).collect()).unwrap_or_default()
}

fn table(workload: &str) -> Option<&'static Table> {
    match workload {
        "idle" => Some(&IDLE),
        "steady" => Some(&STEADY),
        "decline" => Some(&DECLINE),
        "allfiltered" => Some(&ALL_FILTERED),
        "quota" => Some(&QUOTA),
        _ => None,
    }
}

/// An empty cluster: everything is offered.
static IDLE: Table = Table {
    steps: &[
        "add_agents",
        "add_frameworks",
        "offer_all",
        "no_op",
        "decline",
        "decline_filtered",
        "cycle_after_filtered",
    ],
    rows: &[
        ((1000, 1, 1), &[13.2, 3.03, 19.2, 2.51, 21.2, 26.3, 10.3], 42.0),
        ((1000, 50, 50), &[16.0, 65.5, 23.6, 3.51, 24.3, 28.2, 23.0], 88.0),
        ((1000, 200, 200), &[15.4, 236.0, 32.3, 13.6, 23.1, 31.4, 34.2], 175.0),
        ((1000, 1000, 200), &[15.1, 382.0, 35.9, 10.4, 24.4, 31.2, 35.9], 175.0),
        ((5000, 1, 1), &[76.8, 15.6, 101.0, 10.8, 110.0, 141.0, 37.9], 144.0),
        ((5000, 50, 50), &[77.8, 576.0, 121.0, 23.6, 111.0, 145.0, 131.0], 382.0),
        ((5000, 200, 200), &[81.1, 2409.0, 173.0, 58.9, 113.0, 154.0, 175.0], 813.0),
        ((5000, 1000, 200), &[77.2, 3332.0, 187.0, 58.2, 124.0, 151.0, 188.0], 826.0),
        ((10000, 1, 1), &[157.0, 32.5, 220.0, 25.3, 220.0, 282.0, 90.3], 325.0),
        ((10000, 50, 50), &[159.0, 1443.0, 260.0, 54.8, 229.0, 297.0, 274.0], 790.0),
        ((10000, 200, 200), &[168.0, 5543.0, 341.0, 122.0, 222.0, 278.0, 351.0], 1603.0),
        ((10000, 1000, 200), &[152.0, 7112.0, 368.0, 125.0, 239.0, 292.0, 373.0], 1563.0),
        ((50000, 1, 1), &[911.0, 208.0, 1252.0, 226.0, 1190.0, 1529.0, 562.0], 1459.0),
        ((50000, 50, 50), &[1023.0, 9519.0, 1601.0, 400.0, 1240.0, 1565.0, 1475.0], 3650.0),
        ((50000, 200, 200), &[998.0, 36724.0, 2280.0, 700.0, 1235.0, 1883.0, 2260.0], 7984.0),
        ((50000, 1000, 200), &[938.0, 70695.0, 2130.0, 685.0, 1243.0, UNMEASURED, UNMEASURED], 6533.0),
    ],
};

/// Half of every agent is used by running tasks.
static STEADY: Table = Table {
    steps: &[
        "add_frameworks",
        "add_agents",
        "no_op",
        "decline",
        "reoffer",
        "reoffer_mean",
        "recover",
        "churn",
        "churn_mean",
    ],
    rows: &[
        ((1000, 1, 1), &[0.709, 62.1, 0.888, 23.2, 23.7, 25.8, 0.342, 1.22, 3.59], 48.0),
        ((1000, 50, 50), &[1.51, 98.3, 3.89, 26.9, 25.9, 29.0, 0.514, 4.64, 7.11], 75.0),
        ((1000, 200, 200), &[6.58, 245.0, 14.1, 27.7, 36.1, 40.0, 0.591, 12.7, 15.1], 161.0),
        ((1000, 1000, 200), &[23.8, 241.0, 10.7, 29.8, 40.3, 42.7, 0.622, 11.3, 14.5], 166.0),
        ((5000, 1, 1), &[1.21, 328.0, 8.83, 118.0, 152.0, 163.0, 2.47, 11.9, 17.8], 197.0),
        ((5000, 50, 50), &[2.46, 547.0, 23.4, 145.0, 159.0, 164.0, 2.61, 32.1, 40.4], 341.0),
        ((5000, 200, 200), &[8.77, 1293.0, 65.1, 150.0, 206.0, 217.0, 2.95, 67.5, 76.1], 730.0),
        ((5000, 1000, 200), &[20.7, 1321.0, 68.1, 156.0, 221.0, 227.0, 3.3, 67.8, 76.9], 754.0),
        ((10000, 1, 1), &[0.33, 688.0, 25.1, 257.0, 320.0, 331.0, 3.91, 30.0, 44.6], 374.0),
        ((10000, 50, 50), &[6.43, 1164.0, 69.8, 301.0, 335.0, 348.0, 5.11, 77.8, 92.9], 651.0),
        ((10000, 200, 200), &[8.53, 2652.0, 145.0, 306.0, 428.0, 444.0, 6.59, 157.0, 166.0], 1482.0),
        ((10000, 1000, 200), &[16.2, 2730.0, 147.0, 316.0, 432.0, 462.0, 6.18, 151.0, 162.0], 1478.0),
        ((50000, 1, 1), &[3.32, 3988.0, 304.0, 1369.0, 1743.0, 1822.0, 19.5, 310.0, 348.0], 1694.0),
        ((50000, 50, 50), &[2.74, 7276.0, 435.0, 1536.0, 1728.0, 1804.0, 33.3, 452.0, 570.0], 3165.0),
        ((50000, 200, 200), &[7.26, 21504.0, 783.0, 1602.0, 2244.0, 2547.0, 29.0, 795.0, 851.0], 7174.0),
        ((50000, 1000, 200), &[18.5, 19527.0, 818.0, 1676.0, 2553.0, 2731.0, 25.9, 824.0, 873.0], 7386.0),
    ],
};

/// All frameworks in one role decline all they are offered, for ever.
static DECLINE: Table = Table {
    steps: &["add_frameworks", "add_agents", "decline_filtered", "cycle_after_filtered"],
    rows: &[
        ((1000, 1, 1), &[4.02, 82.8, 53.0, 9.97], 49.0),
        ((1000, 50, 1), &[0.872, 74.3, 64.4, 42.2], 72.0),
        ((1000, 200, 1), &[3.43, 81.2, 59.9, 43.2], 73.0),
        ((1000, 1000, 1), &[14.3, 102.0, 62.9, 61.6], 86.0),
        ((5000, 1, 1), &[4.03, 401.0, 262.0, 122.0], 202.0),
        ((5000, 50, 1), &[0.644, 386.0, 290.0, 213.0], 352.0),
        ((5000, 200, 1), &[5.81, 428.0, 298.0, 245.0], 321.0),
        ((5000, 1000, 1), &[15.6, 504.0, 291.0, 340.0], 344.0),
        ((10000, 1, 1), &[0.729, 838.0, 549.0, 148.0], 385.0),
        ((10000, 50, 1), &[0.643, 831.0, 699.0, 466.0], 596.0),
        ((10000, 200, 1), &[7.47, 938.0, 615.0, 516.0], 695.0),
        ((10000, 1000, 1), &[17.1, 1078.0, 671.0, 710.0], 633.0),
        ((50000, 1, 1), &[0.165, 4598.0, 2931.0, 777.0], 1884.0),
        ((50000, 50, 1), &[0.616, 4408.0, 2893.0, 2190.0], 2474.0),
        ((50000, 200, 1), &[8.57, 4824.0, 2875.0, 2481.0], 2817.0),
        ((50000, 1000, 1), &[18.6, 5720.0, 2897.0, 3418.0], 2608.0),
    ],
};

/// Every framework filters every agent: a cycle makes no offer.
static ALL_FILTERED: Table = Table {
    steps: &["all_filtered"],
    rows: &[
        ((1000, 1, 1), &[7.26], 46.0),
        ((1000, 50, 1), &[226.0], 108.0),
        ((1000, 200, 1), &[928.0], 324.0),
        ((1000, 1000, 1), &[4963.0], 1458.0),
        ((5000, 1, 1), &[51.0], 186.0),
        ((5000, 50, 1), &[1177.0], 508.0),
        ((5000, 200, 1), &[4740.0], 1568.0),
        ((10000, 1, 1), &[122.0], 361.0),
        ((10000, 50, 1), &[2407.0], 1006.0),
        ((10000, 200, 1), &[9574.0], 3122.0),
        ((50000, 1, 1), &[642.0], 1768.0),
        ((50000, 20, 1), &[5085.0], 2886.0),
        ((1000, 200, 200), &[969.0], 427.0),
        ((5000, 200, 200), &[4961.0], 2070.0),
        ((1000, 1000, 200), &[4954.0], 1561.0),
        ((10000, 50, 50), &[2534.0], 1190.0),
    ],
};

/// Small and large roles with quota, one framework in each.
static QUOTA: Table = Table {
    steps: &["add_agents", "quota_first", "quota_second"],
    rows: &[
        ((30, 30, 30), &[1.75, 1.4, 0.602], 12.0),
        ((300, 300, 300), &[8.78, 70.1, 60.2], 72.0),
        ((3000, 3000, 3000), &[38.6, 14406.0, 12624.0], 5179.0),
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_found_by_workload_size_and_step() {
        for (workload, (agents, frameworks, roles), step, expected) in [
            ("idle", (1000, 1, 1), "add_agents", 13.2),
            ("idle", (10_000, 200, 200), "add_frameworks", 5543.0),
            ("idle", (5000, 1000, 200), "offer_all", 187.0),
            ("idle", (50_000, 1000, 200), "decline", 1243.0),
            ("idle", (50_000, 200, 200), "cycle_after_filtered", 2260.0),
            ("steady", (1000, 200, 200), "no_op", 14.1),
            ("steady", (10_000, 1000, 200), "reoffer", 432.0),
            ("steady", (5000, 50, 50), "recover", 2.61),
            ("steady", (50_000, 200, 200), "churn", 795.0),
            ("decline", (10_000, 200, 1), "decline_filtered", 615.0),
            ("decline", (50_000, 1000, 1), "cycle_after_filtered", 3418.0),
            ("allfiltered", (10_000, 200, 1), "all_filtered", 9574.0),
            ("allfiltered", (10_000, 50, 50), "all_filtered", 2534.0),
            ("quota", (3000, 3000, 3000), "quota_first", 14406.0),
            ("quota", (300, 300, 300), "quota_second", 60.2),
            ("quota", (30, 30, 30), "add_agents", 1.75),
        ] {
            let found = mesos_cpu_ms(workload, agents, frameworks, roles, step);
            assert_eq!(found, Some(expected), "{workload} {agents}x{frameworks} {step}");
        }
    }

    #[test]
    fn what_was_not_measured_has_no_figure() {
        assert_eq!(mesos_cpu_ms("idle", 50_000, 1000, 200, "decline_filtered"), None);
        assert_eq!(mesos_cpu_ms("idle", 50_000, 1000, 200, "cycle_after_filtered"), None);
        assert_eq!(mesos_cpu_ms("idle", 2000, 1, 1, "no_op"), None);
        assert_eq!(mesos_cpu_ms("idle", 1000, 1, 1, "churn"), None);
        assert_eq!(mesos_cpu_ms("allfiltered", 5000, 1000, 1, "all_filtered"), None);
        assert_eq!(mesos_cpu_ms("sort", 1000, 50, 50, "no_op"), None);
    }

    #[test]
    fn peak_memory_is_that_of_the_whole_run() {
        for (workload, (agents, frameworks, roles), expected) in [
            ("idle", (50_000, 200, 200), 7984.0),
            ("steady", (1000, 1, 1), 48.0),
            ("decline", (5000, 1000, 1), 344.0),
            ("allfiltered", (1000, 1000, 200), 1561.0),
            ("quota", (3000, 3000, 3000), 5179.0),
        ] {
            assert_eq!(mesos_peak_rss_mib(workload, agents, frameworks, roles), Some(expected));
        }
        assert_eq!(mesos_peak_rss_mib("quota", 1, 1, 1), None);
    }

    #[test]
    fn every_row_has_a_figure_or_a_gap_for_each_step() {
        for (workload, rows) in [("idle", 16), ("steady", 16), ("decline", 16), ("allfiltered", 16), ("quota", 3)] {
            let table = table(workload).unwrap();
            assert_eq!(cells(workload).len(), rows);
            assert!(table.rows.iter().all(|(_, figures, _)| figures.len() == table.steps.len()), "{workload}");
        }
        assert_eq!(cells("sort"), []);
    }
}
