// Draws showers from a file of `caloman export` with ONNX Runtime's C++ interface.
//
//   g++ -std=c++17 showers.cpp -I$ORT/include -L$ORT/lib -lonnxruntime -o showers
//   ./showers photons.onnx 65536 1000 showers.bin
//
// writes 1000 showers of 65,536 MeV, a call each as inside Geant4: float32, voxels [MeV] of one
// after the other. Inside Geant4, G4UniformRand() and G4RandGauss::shoot() take the place of
// std::mt19937_64 (files of noise=input), and the event's number that of `first` (noise=inside).
#include <onnxruntime_cxx_api.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <numeric>
#include <random>
#include <string>
#include <vector>

int main(int argc, char** argv) {
  if (argc != 5) {
    std::cerr << "usage: showers FILE.onnx ENERGY_MEV NUMBER OUT.bin\n";
    return 2;
  }
  Ort::Env env(ORT_LOGGING_LEVEL_WARNING, "showers");
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(1);
  Ort::Session session(env, argv[1], options);
  Ort::AllocatorWithDefaultOptions allocator;

  auto facts = session.GetModelMetadata();
  auto target = facts.LookupCustomMetadataMapAllocated("caloman.target", allocator);
  if (!target || std::string(target.get()) != "plain") {
    std::cerr << argv[1] << " is no file of caloman export target=plain\n";
    return 2;
  }
  for (const char* key : {"caloman.caloman_version", "caloman.noise", "caloman.voxel_order",
                          "caloman.energy_low", "caloman.energy_high"}) {
    auto value = facts.LookupCustomMetadataMapAllocated(key, allocator);
    std::cout << key << ": " << (value ? value.get() : "not said") << "\n";
  }

  std::vector<std::string> names;
  std::vector<std::vector<int64_t>> shapes;
  for (size_t i = 0; i < session.GetInputCount(); ++i) {
    names.emplace_back(session.GetInputNameAllocated(i, allocator).get());
    auto shape = session.GetInputTypeInfo(i).GetTensorTypeAndShapeInfo().GetShape();
    if (shape[0] < 0) shape[0] = 1;  // any number of showers
    if (names.back() == "energies" && shape[0] != 1) {
      std::cerr << "this program draws one shower a call: give batch_sizes=[1] or none\n";
      return 2;
    }
    shapes.push_back(shape);
  }
  std::vector<const char*> inputs;
  for (const auto& name : names) inputs.push_back(name.c_str());
  const char* outputs[] = {"voxels"};

  std::mt19937_64 generator(1);
  std::uniform_real_distribution<float> uniform(1e-9f, 1.0f - 1e-7f);
  std::normal_distribution<float> normal;
  auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  std::ofstream out(argv[4], std::ios::binary);
  double total = 0;
  const int64_t n = std::atoll(argv[3]);
  for (int64_t event = 0; event < n; ++event) {
    std::vector<std::vector<float>> reals(names.size());
    std::vector<std::vector<int64_t>> integers(names.size());
    std::vector<Ort::Value> values;
    for (size_t i = 0; i < names.size(); ++i) {
      const auto& shape = shapes[i];
      const size_t size = std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<int64_t>());
      if (names[i] == "seed" || names[i] == "first") {
        integers[i].assign(size, names[i] == "seed" ? 1 : event);
        values.push_back(Ort::Value::CreateTensor<int64_t>(memory, integers[i].data(), size, shape.data(), shape.size()));
        continue;
      }
      reals[i].resize(size);
      for (auto& number : reals[i])
        number = names[i] == "energies" ? std::stof(argv[2])
                 : names[i] == "uniform" ? uniform(generator) : normal(generator);
      values.push_back(Ort::Value::CreateTensor<float>(memory, reals[i].data(), size, shape.data(), shape.size()));
    }
    auto found = session.Run(Ort::RunOptions{nullptr}, inputs.data(), values.data(), values.size(), outputs, 1);
    const float* voxels = found[0].GetTensorData<float>();
    const size_t size = found[0].GetTensorTypeAndShapeInfo().GetElementCount();
    out.write(reinterpret_cast<const char*>(voxels), static_cast<std::streamsize>(size * sizeof(float)));
    total += std::accumulate(voxels, voxels + size, 0.0);
  }
  std::cout << n << " showers, mean response " << total / static_cast<double>(n) / std::stof(argv[2]) << "\n";
  return out.good() ? 0 : 1;
}
