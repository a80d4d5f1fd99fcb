use parallax::train::bert::*; use parallax::train::tower::*; use parallax::encoder::contract::*; use parallax::encoder::pooling::Pooling;
use candle_core::Tensor; use parallax::random::Random;
fn cpu() -> f64 { let s=std::fs::read_to_string("/proc/self/stat").unwrap(); let w:Vec<&str>=s.rsplit(')').next().unwrap().split_whitespace().collect(); (w[11].parse::<f64>().unwrap()+w[12].parse::<f64>().unwrap())/100.0 }
fn main(){
 let a:Vec<String>=std::env::args().collect();
 let folder=std::path::Path::new(&a[1]);
 if a[2]=="write" {
  let texts=["What is the tallest mountain?","Mount Everest is the highest mountain above sea level, in the Himalayas.","서울은 대한민국의 수도이다.","a"];
  for (name,pooling,layers,sim) in [("full",None,None,Similarity::Cosine),("cls2",Some(Pooling::Cls),Some(2),Similarity::Dot),("mean3",None,Some(3),Similarity::Cosine)] {
   let t=open(folder,&OpenOptions{pooling,layers,..Default::default()}).unwrap();
   let w=t.parameters().iter().find(|p|p.name.contains("layer.0.output.dense.weight")).unwrap(); w.var.set(&(w.var.as_tensor()*1.1).unwrap()).unwrap();
   let out=std::path::Path::new(&a[3]).join(name); t.write(&out,sim).unwrap();
   let ws:Vec<Tensor>=t.parameters().iter().map(|p|p.var.as_tensor().clone()).collect();
   let ids:Vec<Vec<u32>>=texts.iter().map(|x|t.tokens(x,Role::Query).unwrap()).collect();
   let rows=t.forward(&ws,&Packed::of(ids.iter().map(|i|i.as_slice())),None).unwrap().to_vec2::<f32>().unwrap();
   std::fs::write(out.join("rows.json"),format!("{rows:?}")).unwrap();
  }
  return;
 }
 let n:usize=a[2].parse().unwrap(); let threads:usize=a[3].parse().unwrap(); let drop:f32=a[4].parse().unwrap();
 rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().unwrap();
 let t=open(folder,&OpenOptions{dropout:drop,..Default::default()}).unwrap();
 let mut r=Random::new(1);
 let mk=|r:&mut Random,n:usize,l:usize| { let v:Vec<Vec<u32>>=(0..n).map(|_|(0..l).map(|_|1000+r.below(29000) as u32).collect()).collect(); Packed::of(v.iter().map(|x|x.as_slice())) };
 let p=mk(&mut r,n,128);
 for _ in 0..4 {
  let ws:Vec<Tensor>=t.parameters().iter().map(|p|p.var.as_tensor().clone()).collect();
  let (c,s)=(cpu(),std::time::Instant::now());
  let rows=t.forward(&ws,&p,(drop>0.0).then_some(Dropout{seed:1,first_text:0})).unwrap();
  let (c1,s1)=(cpu(),s.elapsed().as_secs_f64());
  let g=rows.sqr().unwrap().sum_all().unwrap().backward().unwrap();
  let (c2,s2)=(cpu(),s.elapsed().as_secs_f64());
  println!("forward cpu {:.2} wall {:.3}; backward cpu {:.2} wall {:.3}", c1-c, s1, c2-c1, s2-s1); drop_(g);
 }
}
fn drop_<T>(_:T){}
