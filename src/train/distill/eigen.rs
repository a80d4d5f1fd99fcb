//! Eigenvectors of a symmetric matrix by Jacobi's rotations.
//!
//! A symmetric matrix `A` of `n × n` goes in; its eigenvalues, largest first, and unit eigenvectors come out. Each
//! rotation in the plane of rows `p` and `q` makes `a_pq` zero; sweeping over all pairs shrinks what is off the
//! diagonal quadratically in the end, and the product of the rotations holds the eigenvectors.
//!
//! Cost: some 10 sweeps of `2 n³` multiplications each; seconds for `n` = 384. Source: G. H. Golub, C. F. Van Loan,
//! "Matrix Computations", section 8.5.

/// Sweeps after which the rest is rounding; 10 are usual.
const MOST_SWEEPS: usize = 60;

/// Eigenvalues, largest first, and the eigenvectors as rows in that order, each with its largest component positive.
pub(super) fn symmetric(mut a: Vec<f64>, n: usize) -> (Vec<f64>, Vec<Vec<f64>>) {
    let mut vectors: Vec<f64> = (0..n * n).map(|i| f64::from(i % (n + 1) == 0)).collect();
    let total: f64 = a.iter().map(|x| x * x).sum();
    for _ in 0..MOST_SWEEPS {
        let off: f64 = (0..n).flat_map(|p| (p + 1..n).map(move |q| (p, q))).map(|(p, q)| a[p * n + q].powi(2)).sum();
        if off <= 1e-24 * total {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                rotate(&mut a, &mut vectors, n, p, q);
            }
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|i, j| a[j * n + j].total_cmp(&a[i * n + i]));
    let values = order.iter().map(|i| a[i * n + i]).collect();
    let vectors = order.iter().map(|i| {
        let vector = &vectors[i * n..(i + 1) * n];
        let largest = vector.iter().fold(0.0f64, |most, x| if x.abs() > most.abs() { *x } else { most });
        vector.iter().map(|x| x * largest.signum()).collect()
    });
    (values, vectors.collect())
}

/// Makes `a_pq` zero. Row `i` of `vectors` is the `i`-th eigenvector in the making.
fn rotate(a: &mut [f64], vectors: &mut [f64], n: usize, p: usize, q: usize) {
    let (app, aqq, apq) = (a[p * n + p], a[q * n + q], a[p * n + q]);
    if apq == 0.0 {
        return;
    }
    // The smaller of the two angles: t = tan θ.
    let theta = (aqq - app) / (2.0 * apq);
    let t =
        if theta.abs() > 1e150 { 0.5 / theta } else { theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt()) };
    let c = 1.0 / (t * t + 1.0).sqrt();
    let s = t * c;
    turn_rows(a, n, p, q, c, s);
    for row in a.chunks_mut(n) {
        (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
    }
    (a[p * n + p], a[q * n + q]) = (app - t * apq, aqq + t * apq);
    (a[p * n + q], a[q * n + p]) = (0.0, 0.0);
    turn_rows(vectors, n, p, q, c, s);
}

fn turn_rows(a: &mut [f64], n: usize, p: usize, q: usize, c: f64, s: f64) {
    let (head, tail) = a.split_at_mut(q * n);
    for (x, y) in head[p * n..(p + 1) * n].iter_mut().zip(&mut tail[..n]) {
        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_matrix_worked_by_hand() {
        // [[2, 1], [1, 2]]: 3 along (1, 1), 1 along (1, -1).
        let (values, vectors) = symmetric(vec![2.0, 1.0, 1.0, 2.0], 2);
        assert!((values[0] - 3.0).abs() < 1e-12 && (values[1] - 1.0).abs() < 1e-12);
        assert!(vectors[0].iter().all(|x| (x - 0.5f64.sqrt()).abs() < 1e-12), "{vectors:?}");
    }

    proptest! {
        #[test]
        fn vectors_are_orthonormal_and_give_the_matrix_back(values in prop::collection::vec(-3.0f64..3.0, 49)) {
            let n = 7;
            let a: Vec<f64> = (0..n * n).map(|i| values[i] + values[(i % n) * n + i / n]).collect();
            let (lambda, v) = symmetric(a.clone(), n);
            prop_assert!(lambda.windows(2).all(|pair| pair[0] >= pair[1]));
            for i in 0..n {
                for j in 0..n {
                    let dot: f64 = (0..n).map(|k| v[i][k] * v[j][k]).sum();
                    prop_assert!((dot - f64::from(i == j)).abs() < 1e-10);
                    let back: f64 = (0..n).map(|k| lambda[k] * v[k][i] * v[k][j]).sum();
                    prop_assert!((back - a[i * n + j]).abs() < 1e-10);
                }
            }
        }
    }
}
