//! Rows against the encoder's, gradients against PyTorch's and candle's, folders against both readers.

use super::*;
use crate::encoder;
use candle_core::safetensors::load;
use std::collections::HashMap;
use std::path::PathBuf;

fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/encoders", name].iter().collect()
}

fn texts() -> Vec<String> {
    let stored: serde_json::Value =
        serde_json::from_slice(&std::fs::read(fixture("bert/vectors.json")).unwrap()).unwrap();
    stored["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn packed(tower: &Bert, texts: &[&str]) -> Packed {
    let ids: Vec<Vec<u32>> = texts.iter().map(|text| tower.tokens(text, Role::Query).unwrap()).collect();
    Packed::of(ids.iter().map(Vec::as_slice))
}

fn weights(tower: &Bert) -> Vec<Tensor> {
    tower.parameters().iter().map(|parameter| parameter.var.as_tensor().clone()).collect()
}

fn rows(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// `|a - b| / |b|`.
fn distance(a: &Tensor, b: &Tensor) -> f64 {
    let length = |x: &Tensor| rows(x).iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    length(&(a - b).unwrap()) / length(b).max(1e-30)
}

/// Mean negative log-likelihood of the second half of the rows given the first.
fn loss(rows: &Tensor, similarity: Similarity) -> Tensor {
    let n = rows.dim(0).unwrap() / 2;
    let rows = match similarity {
        Similarity::Dot => rows.clone(),
        Similarity::Cosine => {
            let length = rows.sqr().unwrap().sum_keepdim(1).unwrap().sqrt().unwrap();
            (rows.broadcast_div(&length).unwrap() / 0.05f64.sqrt()).unwrap()
        }
    };
    let scores = rows.narrow(0, 0, n).unwrap().matmul(&rows.narrow(0, n, n).unwrap().t().unwrap()).unwrap();
    let targets = Tensor::arange(0u32, n as u32, &Device::Cpu).unwrap();
    candle_nn::loss::cross_entropy(&scores, &targets).unwrap()
}

#[test]
fn gradients_are_those_of_pytorch() {
    let stored: HashMap<String, Tensor> = load(fixture("gradients.safetensors"), &Device::Cpu).unwrap();
    let texts = texts();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    for (pooling, similarity) in [(Pooling::Mean, Similarity::Cosine), (Pooling::Cls, Similarity::Dot)] {
        let tower = open(&fixture("bert"), &OpenOptions { pooling: Some(pooling), ..Default::default() }).unwrap();
        let out = tower.forward(&weights(&tower), &packed(&tower, &texts), None).unwrap();
        let loss = loss(&out, similarity);
        let case = format!("{}.{}", pooling.name(), similarity.name());
        let want = stored[&format!("{case}/loss")].to_scalar::<f32>().unwrap();
        let got = loss.to_scalar::<f32>().unwrap();
        assert!((got - want).abs() <= 1e-4 * want.abs(), "{case}: a loss of {got}, not {want}");
        let gradients = loss.backward().unwrap();
        let (mut worst, mut seen) = (0.0f64, 0);
        for parameter in tower.parameters().iter().filter(|parameter| parameter.trained) {
            let got = gradients.get(&parameter.var).expect(&parameter.name);
            let want = &stored[&format!("{case}/{}", parameter.name)];
            let size = want.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            seen += 1;
            if parameter.name.ends_with("key.bias") {
                // A constant added to all scores of a row leaves softmax as it is: the true gradient is 0.
                let size = got.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
                assert!(size < 1e-5, "{case} {}: {size}", parameter.name);
                continue;
            }
            assert!(size > 1e-4, "{case} {}: the fixture's gradient is {size}", parameter.name);
            let gap = distance(got, want);
            worst = worst.max(gap);
            assert!(gap <= 1e-4, "{case} {}: {gap} away", parameter.name);
        }
        println!("{case}: {seen} gradients, the farthest {worst:e} away");
        assert_eq!(seen + 1, stored.keys().filter(|name| name.starts_with(&case)).count());
    }
}

#[test]
fn rows_are_those_of_the_encoder() {
    let texts = texts();
    let mut texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    texts.push("");
    for name in ["bert", "distilbert", "xlm-roberta"] {
        let folder = fixture(name);
        let encoder = encoder::open(&folder, name, &encoder::OpenOptions::default()).unwrap();
        let want = encoder.encode(&texts, Role::Query).unwrap();
        let tower = open(&folder, &OpenOptions::default()).unwrap();
        let detached: Vec<Tensor> = weights(&tower).iter().map(Tensor::detach).collect();
        for weights in [weights(&tower), detached] {
            let mut got = rows(&tower.forward(&weights, &packed(&tower, &texts), None).unwrap());
            assert_eq!((got.len(), tower.dimension()), (want.values().len(), want.dimension()));
            if tower.similarity() == Similarity::Cosine {
                got.chunks_exact_mut(tower.dimension()).for_each(encoder::pooling::normalize);
            }
            let gap = got.iter().zip(want.values()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(gap <= 1e-5 * want.values().iter().fold(1.0, |m: f32, x| m.max(x.abs())), "{name}: {gap}");
        }
        assert_eq!(tower.similarity(), encoder.card().similarity);
    }
}

#[test]
fn candles_own_operations_give_the_same_rows_and_gradients() {
    let texts = texts();
    let mut texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    texts.insert(2, "");
    for name in ["bert", "distilbert", "xlm-roberta"] {
        for (pooling, dropout) in [(Pooling::Mean, None), (Pooling::Cls, Some(Dropout { seed: 7, first_text: 3 }))] {
            let options = OpenOptions { pooling: Some(pooling), dropout: 0.2, ..Default::default() };
            let tower = open(&fixture(name), &options).unwrap();
            let (weights, texts) = (weights(&tower), packed(&tower, &texts));
            let ours = tower.pooled(&weights, &texts, dropout).unwrap();
            let (config, masks) = (&tower.model.config, Masks::new(dropout, 0.2));
            let theirs = composed::forward(config, pooling, &weights, &texts, masks, DType::F32).unwrap();
            assert!(distance(&ours, &theirs) < 1e-5, "{name}: rows");
            // Any smooth function of the rows.
            let gradients = [ours, theirs].map(|rows| rows.sin().unwrap().sum_all().unwrap().backward().unwrap());
            for parameter in &tower.parameters()[..view::count(config)] {
                let [ours, theirs] = gradients.each_ref().map(|gradients| gradients.get(&parameter.var).unwrap());
                let size = |x: &Tensor| x.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
                let constant = parameter.name.ends_with("key.bias") || parameter.name.ends_with("k_lin.bias");
                if constant {
                    assert!(size(ours) < 1e-4 && size(theirs) < 1e-4);
                } else {
                    let gap = distance(ours, theirs);
                    assert!(size(theirs) > 1e-6 && gap < 1e-4, "{name} {}: {gap}", parameter.name);
                }
            }
        }
    }
}

#[test]
fn half_precision_products_give_gradients_in_f32() {
    let tower = open(&fixture("bert"), &OpenOptions::default()).unwrap();
    let (weights, texts) = (weights(&tower), texts());
    let texts = packed(&tower, &texts.iter().map(String::as_str).collect::<Vec<_>>());
    // f16 stands for bf16, whose products candle has on GPUs only.
    let run = |dtype| {
        let config = &tower.model.config;
        let rows = composed::forward(config, Pooling::Mean, &weights, &texts, None, dtype).unwrap();
        let gradients = rows.sin().unwrap().sum_all().unwrap().backward().unwrap();
        (rows, gradients)
    };
    let ((half, half_gradients), (full, gradients)) = (run(DType::F16), run(DType::F32));
    assert!(half.dtype() == DType::F32 && distance(&half, &full) < 1e-2);
    for parameter in tower.parameters().iter().filter(|parameter| !parameter.name.contains("2_Dense")) {
        let [half, full] = [&half_gradients, &gradients].map(|all| all.get(&parameter.var).unwrap());
        assert_eq!(half.dtype(), DType::F32, "{}", parameter.name);
        // Ten bits of fraction through two layers.
        let gap = distance(half, full);
        assert!(parameter.name.ends_with("key.bias") || gap < 0.05, "{}: {gap}", parameter.name);
    }
}

#[test]
fn gradients_added_straight_are_those_of_the_graph() {
    let texts = texts();
    let mut texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    texts.insert(2, "");
    for name in ["bert", "distilbert", "xlm-roberta"] {
        let tower = open(&fixture(name), &OpenOptions::default()).unwrap();
        let weights = weights(&tower);
        let gradient = tower.forward(&weights, &packed(&tower, &texts), None).unwrap().sin().unwrap();
        let dropout = |first_text| Some(Dropout { seed: 9, first_text });
        let (mut straight, mut graph) = (Gradients::new(weights.len()), Gradients::new(weights.len()));
        // In two chunks, so that sums are added to.
        for (from, to) in [(0, 4), (4, 9)] {
            let (texts, gradient) = (packed(&tower, &texts[from..to]), gradient.narrow(0, from, to - from).unwrap());
            tower.backward(&weights, &texts, dropout(from), &gradient, &mut straight).unwrap();
            replay(&tower, &weights, &texts, dropout(from), &gradient, &mut graph).unwrap();
        }
        for (i, parameter) in tower.parameters().iter().enumerate() {
            let [straight, graph] = [&straight, &graph].map(|all| all.values(i).unwrap());
            let (Some(straight), Some(graph)) = (straight, graph) else {
                assert!(!parameter.trained);
                continue;
            };
            let gap = straight.iter().zip(&graph).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(
                gap <= 1e-5 * graph.iter().fold(1.0, |most: f32, x| most.max(x.abs())),
                "{name} {}",
                parameter.name
            );
        }
        assert!((straight.norm().unwrap() / graph.norm().unwrap() - 1.0).abs() < 1e-5);
    }
}

#[test]
fn masks_do_not_depend_on_how_a_batch_is_cut() {
    let tower = open(&fixture("bert"), &OpenOptions::default()).unwrap();
    let (weights, texts) = (weights(&tower), texts());
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let run = |from: usize, to: usize, seed| {
        let dropout = Some(Dropout { seed, first_text: from });
        rows(&tower.forward(&weights, &packed(&tower, &texts[from..to]), dropout).unwrap())
    };
    let whole = run(0, 8, 5);
    let cut = [run(0, 3, 5), run(3, 4, 5), run(4, 8, 5)].concat();
    let gap = whole.iter().zip(&cut).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(gap < 1e-5, "{gap}");
    assert_ne!(whole, run(0, 8, 6));
    let without = rows(&tower.forward(&weights, &packed(&tower, &texts), None).unwrap());
    assert_ne!(whole, without);
}

#[test]
fn the_same_bits_at_any_number_of_threads() {
    let tower = open(&fixture("bert"), &OpenOptions::default()).unwrap();
    let (weights, texts) = (weights(&tower), vec![texts(); 5].concat());
    let texts = packed(&tower, &texts.iter().map(String::as_str).collect::<Vec<_>>());
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let rows = tower.forward(&weights, &texts, Some(Dropout { seed: 1, first_text: 0 })).unwrap();
            let gradients = rows.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            weights.iter().map(|weight| gradients.get(weight).unwrap().flatten_all().unwrap()).collect::<Vec<_>>()
        })
    };
    for (one, two) in run(1).iter().zip(run(2)) {
        assert_eq!(rows(one), rows(&two));
    }
}

#[test]
fn a_folder_written_opens_with_the_rows_of_the_tower() {
    let texts = texts();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    for (name, similarity) in [
        ("bert", Similarity::Cosine),
        ("distilbert", Similarity::Dot),
        ("xlm-roberta", Similarity::Dot),
        ("distilbert", Similarity::Cosine),
    ] {
        let options = OpenOptions { pooling: Some(Pooling::Cls), layers: Some(1), ..Default::default() };
        let tower = open(&fixture(name), &options).unwrap();
        let word = tower.parameters().iter().find(|parameter| parameter.name.contains("word")).unwrap();
        word.var.set(&(word.var.as_tensor() * 0.5).unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        tower.write(folder.path(), similarity).unwrap();
        let encoder = encoder::open(folder.path(), name, &encoder::OpenOptions::default()).unwrap();
        let mut want = rows(&tower.forward(&weights(&tower), &packed(&tower, &texts), None).unwrap());
        if similarity == Similarity::Cosine {
            want.chunks_exact_mut(tower.dimension()).for_each(encoder::pooling::normalize);
        }
        let got = encoder.encode(&texts, Role::Query).unwrap();
        let gap = got.values().iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(gap <= 1e-5 * want.iter().fold(1.0, |m: f32, x| m.max(x.abs())), "{name}: {gap}");
        assert_eq!((encoder.card().similarity, encoder.card().pooling.as_str()), (similarity, "cls"));
        assert_eq!(encoder.card().max_tokens, Some(tower.most[0]));
        // What was written opens as a tower again.
        let again = open(folder.path(), &OpenOptions::default()).unwrap();
        assert_eq!(again.parameters().len(), tower.parameters().len());
    }
}

#[test]
fn what_is_not_trained_is_refused_with_a_way_out() {
    let refusal = |name: &str, options: OpenOptions| open(&fixture(name), &options).err().unwrap().to_string();
    assert!(refusal("modernbert", OpenOptions::default()).contains("ModernBERT"));
    for layers in [0, 3] {
        let options = OpenOptions { layers: Some(layers), ..Default::default() };
        assert!(refusal("bert", options).contains("the model has 2"));
    }
    let options = OpenOptions { pooling: Some(Pooling::Max), ..Default::default() };
    assert!(refusal("bert", options).contains("largest"));
    let options = OpenOptions { max_query_tokens: Some(65), ..Default::default() };
    assert!(refusal("bert", options).contains("positions for 64"));
    let options = OpenOptions { max_passage_tokens: Some(2), ..Default::default() };
    assert!(refusal("bert", options).contains("special tokens only"));
    assert!(refusal("bert", OpenOptions { dropout: 1.0, ..Default::default() }).contains("dropout"));
}

#[test]
fn texts_are_cut_by_role_and_foreign_ids_refused() {
    let options = OpenOptions { max_query_tokens: Some(4), max_passage_tokens: Some(6), ..Default::default() };
    let tower = open(&fixture("bert"), &options).unwrap();
    let text = "the the the the the the the the";
    assert_eq!(tower.tokens(text, Role::Query).unwrap().len(), 4);
    assert_eq!(tower.tokens(text, Role::Passage).unwrap().len(), 6);
    let foreign = Packed::of([[200u32].as_slice()]);
    assert!(tower.forward(&weights(&tower), &foreign, None).is_err());
    let nothing = Packed::of([[].as_slice(), [].as_slice()]);
    assert_eq!(rows(&tower.forward(&weights(&tower), &nothing, None).unwrap()), [0.0; 32]);
}
